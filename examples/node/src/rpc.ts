/** Typed gRPC: the generated descriptors of protobuf-es carried over grpc-js. Knows nothing of the contract. */
import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import type {
  DescMessage,
  DescMethod,
  DescMethodServerStreaming,
  DescMethodUnary,
  DescService,
  Message,
  MessageInitShape,
  MessageShape,
} from "@bufbuild/protobuf";
import * as grpc from "@grpc/grpc-js";
import { fromServiceError } from "./refusal.js";

/** Receive window of a stream and a connection: the default of 64 KiB throttles every fast or distant link. */
const WINDOW_BYTES = 8 * 1024 * 1024;

const OPTIONS: grpc.ChannelOptions = {
  "grpc-node.flow_control_window": WINDOW_BYTES,
  "grpc.enable_http_proxy": 0, // Endpoints are addresses of peers; an http_proxy in the environment is not meant for them.
  "grpc.use_local_subchannel_pool": 1,
  "grpc.service_config_disable_resolution": 1,
  "grpc.keepalive_time_ms": 60_000,
  "grpc.initial_reconnect_backoff_ms": 500,
  "grpc.max_reconnect_backoff_ms": 5_000,
};

function asBuffer(bytes: Uint8Array): Buffer {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

function serializer<M extends DescMessage>(schema: M): (message: MessageShape<M>) => Buffer {
  return (message) => asBuffer(toBinary(schema, message));
}

function deserializer<M extends DescMessage>(schema: M): (bytes: Buffer) => MessageShape<M> {
  return (bytes) => fromBinary(schema, bytes);
}

export function pathOf(method: DescMethod): string {
  return `/${method.parent.typeName}/${method.name}`;
}

/** The definition that grpc-js wants of a service it is to host, its methods known by their local names. */
export function serviceDefinition(service: DescService): grpc.ServiceDefinition {
  const define = (method: DescMethod): grpc.MethodDefinition<Message, Message> => ({
    path: pathOf(method),
    requestStream: method.methodKind === "client_streaming" || method.methodKind === "bidi_streaming",
    responseStream: method.methodKind === "server_streaming" || method.methodKind === "bidi_streaming",
    requestSerialize: serializer(method.input),
    requestDeserialize: deserializer(method.input),
    responseSerialize: serializer(method.output),
    responseDeserialize: deserializer(method.output),
  });
  return Object.fromEntries(service.methods.map((method) => [method.localName, define(method)]));
}

export function bearer(token: string | undefined): grpc.Metadata {
  const metadata = new grpc.Metadata();
  if (token !== undefined) metadata.set("authorization", `Bearer ${token}`);
  return metadata;
}

/** One channel. Errors of its calls are `Refusal`s. */
export class Connection {
  private readonly client: grpc.Client;

  /** @param serverName the name in the pinned certificate; undefined without TLS */
  constructor(address: string, credentials: grpc.ChannelCredentials, serverName: string | undefined) {
    const named = serverName === undefined ? {} : { "grpc.ssl_target_name_override": serverName };
    this.client = new grpc.Client(address, credentials, { ...OPTIONS, ...named });
  }

  /** Resolves once connected (with TLS: to the pinned certificate). Unlike waitForReady, the first failure is final. */
  async ready(timeoutMs: number): Promise<void> {
    const channel = this.client.getChannel();
    const deadline = Date.now() + timeoutMs;
    for (;;) {
      const state = channel.getConnectivityState(true);
      if (state === grpc.connectivityState.READY) return;
      if (state === grpc.connectivityState.TRANSIENT_FAILURE) throw new Error(`no connection to ${channel.getTarget()}`);
      await new Promise<void>((resolve, reject) => {
        channel.watchConnectivityState(state, deadline, (error) => (error ? reject(error) : resolve()));
      });
    }
  }

  unary<I extends DescMessage, O extends DescMessage>(
    method: DescMethodUnary<I, O>,
    request: MessageInitShape<I>,
    token?: string,
    timeoutMs = 20_000,
  ): Promise<MessageShape<O>> {
    return new Promise((resolve, reject) => {
      this.client.makeUnaryRequest(
        pathOf(method),
        serializer(method.input),
        deserializer(method.output),
        create(method.input, request),
        bearer(token),
        { deadline: Date.now() + timeoutMs },
        (error, response) => (error ? reject(fromServiceError(error)) : resolve(response as MessageShape<O>)),
      );
    });
  }

  /** The messages of a stream, read no faster than they are asked for; none within `idleMs` ends it (CANCELLED). */
  async *serverStream<I extends DescMessage, O extends DescMessage>(
    method: DescMethodServerStreaming<I, O>,
    request: MessageInitShape<I>,
    token: string,
    idleMs: number,
  ): AsyncGenerator<MessageShape<O>, void> {
    const stream = this.client.makeServerStreamRequest(
      pathOf(method),
      serializer(method.input),
      deserializer(method.output),
      create(method.input, request),
      bearer(token),
    );
    const watchdog = setTimeout(() => stream.cancel(), idleMs);
    try {
      for await (const message of stream) {
        yield message as MessageShape<O>;
        watchdog.refresh();
      }
    } catch (error) {
      throw isServiceError(error) ? fromServiceError(error) : error;
    } finally {
      clearTimeout(watchdog);
      stream.cancel();
    }
  }

  close(): void {
    this.client.close();
  }
}

function isServiceError(error: unknown): error is grpc.ServiceError {
  return error instanceof Error && "code" in error && typeof error.code === "number";
}
