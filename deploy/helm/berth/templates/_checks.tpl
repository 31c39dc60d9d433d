{{/* Refuse values that cannot work together; values.schema.json refuses values that are wrong by themselves. */}}
{{- define "berth.checks" -}}
{{- $config := .Values.config -}}
{{- if and (include "berth.needsVolume" .) (include "berth.isReplicated" .) }}
{{- fail "replicas, autoscaling: more than one pod needs config.store.url of PostgreSQL and config.blobs.url of a bucket (s3://, gs:// or az://); SQLite and a folder are for one pod" }}
{{- end }}
{{- if and (include "berth.isReplicated" .) (ne (dig "auth" "allow_direct_keys" true $config) false) (not (dig "auth" "direct_key_secret" "" $config)) }}
{{- fail "config.auth.direct_key_secret: must be set, the same for all pods; or set config.auth.allow_direct_keys to false" }}
{{- end }}
{{- range $name := list "grpc" "rest" "metrics" "allow_plaintext" "trusted_hops" }}
{{- if hasKey ($config.listen | default dict) $name }}
{{- fail (printf "config.listen.%s: the chart sets it; see bindAddress, metrics, tls and envoy.trustedHops" $name) }}
{{- end }}
{{- end }}
{{- if hasKey $config "data_dir" }}
{{- fail "config.data_dir: the chart sets it" }}
{{- end }}
{{- if and $config.tls (has .Values.envoy.mode (list "sidecar" "edge")) }}
{{- fail "config.tls: a sidecar and an edge take their certificate from tls.secretName" }}
{{- end }}
{{- if and .Values.istio.envoyFilter (ne .Values.envoy.mode "none") }}
{{- fail "istio.envoyFilter: needs envoy.mode none, because the sidecar of the mesh takes the place of Envoy" }}
{{- end }}
{{- if and .Values.autoscaling.enabled (gt (int .Values.autoscaling.minReplicas) (int .Values.autoscaling.maxReplicas)) }}
{{- fail "autoscaling.minReplicas: must be at most autoscaling.maxReplicas" }}
{{- end }}
{{- end }}
