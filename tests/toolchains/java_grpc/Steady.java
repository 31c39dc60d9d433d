import io.grpc.CallOptions;
import io.grpc.ClientInterceptors;
import io.grpc.ManagedChannel;
import io.grpc.ManagedChannelBuilder;
import io.grpc.Metadata;
import io.grpc.MethodDescriptor;
import io.grpc.MethodDescriptor.MethodType;
import io.grpc.StatusRuntimeException;
import io.grpc.stub.ClientCalls;
import io.grpc.stub.MetadataUtils;
import java.io.ByteArrayInputStream;
import java.io.IOException;
import java.io.InputStream;
import java.util.ArrayList;
import java.util.Base64;
import java.util.Collections;
import java.util.List;
import java.util.Map;
import java.util.UUID;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.locks.LockSupport;

/**
 * Calls Berth until its input ends, with the settings that docs/grpc-clients.md recommends.
 *
 * Reads BERTH_ADDRESS, BERTH_KEY and, encoded in Base64, the requests BERTH_LIST and BERTH_CREATE.
 * Prints a line after the first calls, and at the end one line of JSON.
 */
public final class Steady {
  private static final String SERVICE = "berth.v1.ContainerService";
  private static final int CALLERS = 8;

  private final ManagedChannel channel = connect();
  private final List<String> failures = Collections.synchronizedList(new ArrayList<>());
  private final AtomicInteger created = new AtomicInteger();
  private volatile boolean isRunning = true;

  public static void main(String[] arguments) throws Exception {
    new Steady().run();
  }

  private static ManagedChannel connect() {
    Map<String, ?> retries = Map.of(
        "maxAttempts", 5.0, "initialBackoff", "0.2s", "maxBackoff", "2s", "backoffMultiplier", 2.0,
        "retryableStatusCodes", List.of("UNAVAILABLE", "CANCELLED"));
    Map<String, ?> methods = Map.of(
        "name", List.of(Map.of("service", SERVICE)), "waitForReady", true, "timeout", "20s",
        "retryPolicy", retries);
    return ManagedChannelBuilder.forTarget(System.getenv("BERTH_ADDRESS"))
        .usePlaintext()
        .defaultServiceConfig(Map.of("methodConfig", List.of(methods)))
        .enableRetry()
        .keepAliveTime(30, TimeUnit.SECONDS)
        .keepAliveTimeout(10, TimeUnit.SECONDS)
        .keepAliveWithoutCalls(true)
        .build();
  }

  private void run() throws Exception {
    round();
    System.out.println("started");
    ExecutorService callers = Executors.newFixedThreadPool(CALLERS);
    for (int number = 0; number < CALLERS; number++) {
      callers.execute(this::repeat);
    }
    System.in.read();
    isRunning = false;
    callers.shutdown();
    callers.awaitTermination(1, TimeUnit.MINUTES);
    String quoted = failures.isEmpty() ? "" : "\"" + String.join("\",\"", failures) + "\"";
    System.out.printf("{\"created\": %d, \"failures\": [%s]}%n", created.get(), quoted);
    channel.shutdownNow();
  }

  private void repeat() {
    while (isRunning) {
      round();
      LockSupport.parkNanos(TimeUnit.MILLISECONDS.toNanos(10));
    }
  }

  private void round() {
    call("ListContainers", "BERTH_LIST", null);
    if (call("CreateContainer", "BERTH_CREATE", UUID.randomUUID().toString())) {
      created.incrementAndGet();
    }
  }

  private boolean call(String method, String request, String idempotencyKey) {
    Metadata headers = new Metadata();
    headers.put(key("authorization"), "Bearer " + System.getenv("BERTH_KEY"));
    if (idempotencyKey != null) {
      headers.put(key("idempotency-key"), idempotencyKey);
    }
    byte[] message = Base64.getDecoder().decode(System.getenv(request));
    try {
      ClientCalls.blockingUnaryCall(
          ClientInterceptors.intercept(channel, MetadataUtils.newAttachHeadersInterceptor(headers)),
          method(method), CallOptions.DEFAULT, message);
      return true;
    } catch (StatusRuntimeException failure) {
      failures.add(method + " " + failure.getStatus().getCode());
      return false;
    }
  }

  private static Metadata.Key<String> key(String name) {
    return Metadata.Key.of(name, Metadata.ASCII_STRING_MARSHALLER);
  }

  private static MethodDescriptor<byte[], byte[]> method(String name) {
    Bytes bytes = new Bytes();
    return MethodDescriptor.newBuilder(bytes, bytes)
        .setType(MethodType.UNARY)
        .setFullMethodName(MethodDescriptor.generateFullMethodName(SERVICE, name))
        .build();
  }

  /** Messages that are encoded already. */
  private static final class Bytes implements MethodDescriptor.Marshaller<byte[]> {
    @Override
    public InputStream stream(byte[] value) {
      return new ByteArrayInputStream(value);
    }

    @Override
    public byte[] parse(InputStream stream) {
      try {
        return stream.readAllBytes();
      } catch (IOException failure) {
        throw new IllegalStateException(failure);
      }
    }
  }
}
