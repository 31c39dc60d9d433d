"""What several workers share, and what each of them has for itself."""

from structlog.typing import FilteringBoundLogger

from berth.config import Config


def caches_responses(config: Config, workers: int) -> bool:
    """Return whether responses are cached: one that a worker has in memory would outlive a write through another."""
    return workers == 1 or config.cache.url is not None


def warn_about_workers(config: Config, workers: int, log: FilteringBoundLogger) -> None:
    """Log a warning for what is configured and works differently with several workers."""
    if workers == 1:
        return
    if config.limits.url is None:
        reason = (
            "limits of keys and tenants are counted in each worker by itself; set limits.url to count keys together"
        )
        log.warning("limits.per_worker", workers=workers, reason=reason)
    cached = [name for name, settings in config.passed_through().items() if settings.cache_seconds is not None]
    if cached and not caches_responses(config, workers):
        reason = "a worker would not see what is written through another; set cache.url to cache responses"
        log.warning("cache.off", workers=workers, providers=cached, reason=reason)
