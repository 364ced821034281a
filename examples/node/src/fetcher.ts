/** One source of one content: the connection to it, its manifest, and verified pieces out of ranges. */
import * as grpc from "@grpc/grpc-js";
import { fitsItsSize, manifestDigest, pieceCount, pieceIsRight, pieceRange } from "./content.js";
import type { Manifest } from "./content.js";
import { PeerService } from "./gen/p2p/v1/peer_pb.js";
import type { Endpoint } from "./gen/p2p/v1/types_pb.js";
import { PEER_NAME } from "./identity.js";
import { showEndpoint, sizeFromWire } from "./names.js";
import { Connection } from "./rpc.js";
import { pinnedTo } from "./trust.js";

const CONNECT_MS = 5_000;
const STAGGER_MS = 250;
const IDLE_MS = 30_000;
const LONGEST_WAIT_MS = 30 * 60_000;

/** A peer that Locate names, its fields checked. */
export interface Located {
  readonly peerId: string;
  readonly user: string;
  readonly endpoints: Endpoint[];
  readonly certificateDer: Uint8Array;
  readonly grant: string;
}

/** The source served what it should not have: never ask it again within this manifest. */
export class SourceMisbehaved extends Error {}

export class Fetcher {
  private constructor(
    private readonly connection: Connection,
    private readonly grant: string,
    private readonly digest: string,
  ) {}

  /** The first of the source's addresses to answer as that peer: one more is tried every quarter second. */
  static async connect(source: Located, digest: string, isInsecure: boolean): Promise<Fetcher> {
    const credentials = isInsecure ? grpc.credentials.createInsecure() : pinnedTo(source.certificateDer);
    const connections = source.endpoints.map(
      (endpoint) => new Connection(showEndpoint(endpoint), credentials, isInsecure ? undefined : PEER_NAME),
    );
    const attempts = connections.map(async (connection, index) => {
      if (index > 0) await new Promise((resolve) => setTimeout(resolve, index * STAGGER_MS));
      await connection.ready(CONNECT_MS);
      return connection;
    });
    let first: Connection | undefined;
    try {
      first = await Promise.any(attempts);
      return new Fetcher(first, source.grant, digest);
    } finally {
      for (const connection of connections) if (connection !== first) connection.close();
    }
  }

  /** @throws SourceMisbehaved the manifest is not the one listed; Refusal */
  async manifest(expectedDigest: string, sizeBytes: number): Promise<Manifest> {
    const { manifest } = await this.connection.unary(PeerService.method.getManifest, { digest: this.digest }, this.grant, IDLE_MS);
    const got: Manifest = {
      sizeBytes: sizeFromWire(manifest?.sizeBytes ?? 0n),
      pieceSizeBytes: sizeFromWire(manifest?.pieceSizeBytes ?? 0n),
      pieceDigests: manifest?.pieceDigests ?? new Uint8Array(),
    };
    const isRight = got.sizeBytes === sizeBytes && fitsItsSize(got) && manifestDigest(got) === expectedDigest;
    if (!isRight) throw new SourceMisbehaved("served another manifest than the one listed");
    return got;
  }

  /**
   * Pieces `first` to `last` (inclusive), each verified, in order. The buffer is the caller's to keep.
   * Where the source has no slot free, `waitInQueue` says whether to wait or to fail; while it waits,
   * messages without data come, each a sign of life.
   * @throws SourceMisbehaved a wrong piece, too few or too many bytes; Refusal
   */
  async *pieces(manifest: Manifest, first: number, last: number, waitInQueue: boolean): AsyncGenerator<{ index: number; bytes: Buffer }> {
    const start = pieceRange(manifest, first).offset;
    const end = Math.min((last + 1) * manifest.pieceSizeBytes, manifest.sizeBytes);
    const request = { digest: this.digest, readOffset: BigInt(start), readLimit: BigInt(end - start), waitInQueue };
    let index = first;
    let bytes = Buffer.allocUnsafe(pieceRange(manifest, index).length);
    let filled = 0;
    let servedAt = Date.now();
    for await (const { data, queue } of this.connection.serverStream(PeerService.method.fetchFile, request, this.grant, IDLE_MS)) {
      if (queue === undefined) servedAt = Date.now();
      else if (Date.now() - servedAt > LONGEST_WAIT_MS) throw new Error("only ever lets us wait");
      for (let used = 0; used < data.length; ) {
        if (index > last) throw new SourceMisbehaved("sent more than was asked for");
        const part = data.subarray(used, used + bytes.length - filled);
        bytes.set(part, filled);
        used += part.length;
        filled += part.length;
        if (filled < bytes.length) break;
        if (!pieceIsRight(manifest, index, bytes)) throw new SourceMisbehaved(`sent a wrong piece (${index})`);
        yield { index, bytes };
        index += 1;
        filled = 0;
        if (index < pieceCount(manifest)) bytes = Buffer.allocUnsafe(pieceRange(manifest, index).length);
      }
    }
    if (index <= last) throw new SourceMisbehaved("ended before the end of the range");
  }

  close(): void {
    this.connection.close();
  }
}
