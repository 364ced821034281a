/** PeerService: contents by digest, to holders of a grant. */
import { create } from "@bufbuild/protobuf";
import * as grpc from "@grpc/grpc-js";
import { readExactly } from "./content.js";
import { FetchFileResponseSchema, GetManifestResponseSchema, PeerService, ProveIdentityResponseSchema } from "./gen/p2p/v1/peer_pb.js";
import type {
  FetchFileRequest, FetchFileResponse, GetManifestRequest, GetManifestResponse, ProveIdentityRequest, ProveIdentityResponse,
} from "./gen/p2p/v1/peer_pb.js";
import { checkGrant } from "./grants.js";
import type { GrantTerms } from "./grants.js";
import { proveIdentityBytes, signWith } from "./identity.js";
import type { Identity } from "./identity.js";
import { contentChanged, isUnchanged } from "./library.js";
import type { Library, SharedFile } from "./library.js";
import { refuse, toStatus } from "./refusal.js";
import { serviceDefinition } from "./rpc.js";

const MAX_CHUNK_BYTES = 1024 * 1024;
const MIN_CHUNK_BYTES = 16 * 1024;
const DEFAULT_CHUNK_BYTES = 512 * 1024;
const STREAM_IDLE_MS = 60_000;
export const MAX_UPLOADS = 64;

type FetchCall = grpc.ServerWritableStream<FetchFileRequest, FetchFileResponse>;

export class Source {
  private readonly server = new grpc.Server({ "grpc.max_receive_message_length": 64 * 1024, "grpc.max_concurrent_streams": 256 });
  private isStopping = false;
  activeUploads = 0;

  constructor(
    private readonly identity: Identity,
    private readonly peerId: string,
    private readonly library: Library,
    private readonly grantTerms: () => GrantTerms | undefined,
  ) {
    this.server.addService(serviceDefinition(PeerService), {
      getManifest: unary((call: grpc.ServerUnaryCall<GetManifestRequest, GetManifestResponse>) => this.getManifest(call)),
      proveIdentity: unary((call: grpc.ServerUnaryCall<ProveIdentityRequest, ProveIdentityResponse>) => this.proveIdentity(call)),
      fetchFile: (call: FetchCall) => void this.fetchFile(call),
    });
  }

  /** Listens; returns the port. Port 0 takes any. */
  listen(address: string, isInsecure: boolean): Promise<number> {
    const pair = { private_key: Buffer.from(this.identity.keyPem), cert_chain: Buffer.from(this.identity.certificatePem) };
    const credentials = isInsecure ? grpc.ServerCredentials.createInsecure() : grpc.ServerCredentials.createSsl(null, [pair]);
    return new Promise((resolve, reject) => {
      this.server.bindAsync(address, credentials, (error, port) => (error ? reject(error) : resolve(port)));
    });
  }

  /** Refuses new calls and ends running ones: downloaders resume elsewhere. */
  stop(): void {
    this.isStopping = true;
    this.server.forceShutdown();
  }

  private async getManifest(call: grpc.ServerUnaryCall<GetManifestRequest, GetManifestResponse>): Promise<GetManifestResponse> {
    await this.admit(call.metadata, call.request.digest);
    const { file, handle } = await this.library.open(call.request.digest);
    await handle.close();
    const { sizeBytes, pieceSizeBytes, pieceDigests } = file.manifest;
    const manifest = { sizeBytes: BigInt(sizeBytes), pieceSizeBytes: BigInt(pieceSizeBytes), pieceDigests };
    return create(GetManifestResponseSchema, { manifest });
  }

  private async proveIdentity(call: grpc.ServerUnaryCall<ProveIdentityRequest, ProveIdentityResponse>): Promise<ProveIdentityResponse> {
    const { nonce } = call.request;
    if (nonce.length < 16 || nonce.length > 64) throw fieldInvalid("nonce", "a nonce is 16 to 64 bytes long");
    return create(ProveIdentityResponseSchema, { signature: signWith(this.identity, proveIdentityBytes(nonce, this.peerId)) });
  }

  private async fetchFile(call: FetchCall): Promise<void> {
    let isCounted = false;
    try {
      await this.admit(call.metadata, call.request.digest);
      if (this.activeUploads >= MAX_UPLOADS) throw refuse(grpc.status.RESOURCE_EXHAUSTED, "TOO_MANY_STREAMS", "too many streams");
      this.activeUploads += 1;
      isCounted = true;
      await this.stream(call);
      call.end();
    } catch (error) {
      if (!call.cancelled) call.emit("error", toStatus(error));
    } finally {
      if (isCounted) this.activeUploads -= 1;
    }
  }

  /** Reads one chunk ahead of the one being sent, and no further: a slow reader costs two chunks of memory. */
  private async stream(call: FetchCall): Promise<void> {
    const { digest, maxChunkBytes } = call.request;
    const { file, handle } = await this.library.open(digest);
    try {
      const { start, end } = rangeOf(call.request, file);
      const chunkBytes = Math.min(Math.max(maxChunkBytes || DEFAULT_CHUNK_BYTES, MIN_CHUNK_BYTES), MAX_CHUNK_BYTES);
      let sending = Promise.resolve();
      for (let offset = start; offset < end && !call.cancelled; offset += chunkBytes) {
        const data = await readUnchanged(file, handle, offset, Math.min(chunkBytes, end - offset));
        await sending;
        sending = send(call, data);
        sending.catch(() => undefined); // Awaited in the next round; this one only keeps Node calm until then.
      }
      await sending;
    } finally {
      await handle.close();
    }
  }

  private async admit(metadata: grpc.Metadata, digest: string): Promise<void> {
    if (this.isStopping) throw refuse(grpc.status.UNAVAILABLE, "SHUTTING_DOWN", "this peer is stopping");
    const terms = this.grantTerms();
    if (terms === undefined) throw refuse(grpc.status.UNAUTHENTICATED, "GRANT_INVALID", "not registered yet");
    await checkGrant(metadata.get("authorization")[0]?.toString(), digest, terms);
  }
}

/** @throws Refusal RANGE_INVALID */
export function rangeOf(request: { readOffset: bigint; readLimit: bigint }, file: SharedFile): { start: number; end: number } {
  const size = BigInt(file.manifest.sizeBytes);
  const { readOffset, readLimit } = request;
  if (readOffset < 0n || readLimit < 0n || readOffset > size) {
    throw refuse(grpc.status.OUT_OF_RANGE, "RANGE_INVALID", "negative, or past the end", { size_bytes: String(size) });
  }
  const end = readLimit === 0n || readOffset + readLimit > size ? size : readOffset + readLimit;
  return { start: Number(readOffset), end: Number(end) };
}

/** Bytes that were still those of the file as hashed after they were read. */
async function readUnchanged(file: SharedFile, handle: Parameters<typeof readExactly>[0], offset: number, length: number): Promise<Buffer> {
  const data = await readExactly(handle, offset, length).catch((error: unknown) => {
    if (error instanceof RangeError) throw contentChanged();
    throw refuse(grpc.status.UNAVAILABLE, "CONTENT_UNREADABLE", "the file cannot be read now");
  });
  if (!(await isUnchanged(file, handle))) throw contentChanged();
  return data;
}

/** Resolves once HTTP/2 flow control let the chunk go. */
function send(call: FetchCall, data: Buffer): Promise<void> {
  return new Promise((resolve, reject) => {
    const idle = refuse(grpc.status.DEADLINE_EXCEEDED, "STREAM_IDLE", "the reader took nothing for too long");
    const timer = setTimeout(() => finish(() => reject(idle)), STREAM_IDLE_MS);
    const onCancelled = (): void => finish(resolve);
    const finish = (then: () => void): void => {
      clearTimeout(timer);
      call.off("cancelled", onCancelled);
      then();
    };
    call.once("cancelled", onCancelled);
    call.write(create(FetchFileResponseSchema, { data }), () => finish(resolve));
  });
}

function fieldInvalid(field: string, message: string): Error {
  return refuse(grpc.status.INVALID_ARGUMENT, "FIELD_INVALID", message, { field });
}

function unary<I, O>(answer: (call: grpc.ServerUnaryCall<I, O>) => Promise<O>): grpc.handleUnaryCall<I, O> {
  return (call, callback) => {
    answer(call).then(
      (response) => callback(null, response),
      (error: unknown) => callback(toStatus(error)),
    );
  };
}
