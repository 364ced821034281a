/** What to tell the directory next about our library. Pure: takes what it holds, returns the request to send. */
import { create, toBinary } from "@bufbuild/protobuf";
import { randomBytes } from "node:crypto";
import { AnnounceRequestSchema } from "./gen/p2p/v1/directory_pb.js";
import type { AnnounceRequest } from "./gen/p2p/v1/directory_pb.js";
import { ResourceSchema } from "./gen/p2p/v1/types_pb.js";
import type { Limits, Resource, Revision } from "./gen/p2p/v1/types_pb.js";
import type { SharedFile } from "./library.js";

/** Room in a request for its other fields: revisions, snapshot marks. */
const OVERHEAD_BYTES = 1024;
const NS = 1_000_000_000n;

type Listed = ReadonlyMap<string, SharedFile>;
interface Batch {
  readonly request: AnnounceRequest;
  /** What the directory holds once this batch is taken; undefined: unchanged (inside a snapshot) */
  readonly listed: Listed | undefined;
}

export class Announcer {
  private readonly epoch = randomBytes(12).toString("base64url");
  private counter = 0n;
  private listed: Listed = new Map();
  /** Batches made and not yet taken, first one next; resent unchanged when an answer got lost. */
  private pending: Batch[] = [];

  revision(): { epoch: string; counter: bigint } {
    return { epoch: this.epoch, counter: this.counter };
  }

  /** The next batch, or undefined if the directory holds all. */
  next(held: Revision | undefined, library: Listed, limits: Limits): AnnounceRequest | undefined {
    if (this.pending.length === 0) {
      const holdsOurs = held?.epoch === this.epoch && held.counter === this.counter;
      this.pending = holdsOurs ? this.delta(library, limits) : this.snapshot(library, limits);
    }
    return this.pending[0]?.request;
  }

  taken(): void {
    const batch = this.pending.shift();
    if (batch?.listed === undefined) return;
    this.listed = batch.listed;
    this.counter = batch.request.revision?.counter ?? this.counter;
  }

  /** The directory holds something else than we thought: the next batch begins a snapshot. */
  mismatched(): void {
    this.pending = [];
  }

  private snapshot(library: Listed, limits: Limits): Batch[] {
    const revision = { epoch: this.epoch, counter: this.counter + 1n };
    const snapshotId = randomBytes(12).toString("base64url");
    const frozen = new Map(library);
    const batches = cut([...frozen.values()].map(resourceOf), (one) => toBinary(ResourceSchema, one).length, limits);
    if (batches.length === 0) batches.push([]);
    return batches.map((resources, batchIndex) => {
      const last = batchIndex === batches.length - 1;
      const request = create(AnnounceRequestSchema, { revision, resources, snapshot: { snapshotId, batchIndex, last } });
      return { request, listed: last ? frozen : undefined };
    });
  }

  /** At most one batch: the rest follows from its revision. */
  private delta(library: Listed, limits: Limits): Batch[] {
    const withdrawn = [...this.listed.keys()].filter((path) => !library.has(path));
    const changed = [...library.values()].filter((file) => this.listed.get(file.path) !== file);
    type Change = { withdrawn: string } | { file: SharedFile; resource: Resource };
    const changes: Change[] = [
      ...withdrawn.map((path) => ({ withdrawn: path })),
      ...changed.map((file) => ({ file, resource: resourceOf(file) })),
    ];
    const size = (one: Change): number =>
      "withdrawn" in one ? Buffer.byteLength(one.withdrawn) : toBinary(ResourceSchema, one.resource).length;
    const batch = cut(changes, size, limits)[0];
    if (batch === undefined) return [];
    const listed = new Map(this.listed);
    const request = create(AnnounceRequestSchema, {
      base: this.revision(),
      revision: { epoch: this.epoch, counter: this.counter + 1n },
    });
    for (const change of batch) {
      if ("withdrawn" in change) {
        request.withdrawnPaths.push(change.withdrawn);
        listed.delete(change.withdrawn);
      } else {
        request.resources.push(change.resource);
        listed.set(change.file.path, change.file);
      }
    }
    return [{ request, listed }];
  }
}

/** Items in order, cut into batches within both limits of the directory. */
function cut<T>(items: T[], sizeOf: (item: T) => number, limits: Limits): T[][] {
  const maxItems = Math.max(1, limits.maxAnnounceItems);
  const maxBytes = limits.maxRequestBytes - OVERHEAD_BYTES;
  const batches: T[][] = [];
  let bytes = Infinity;
  for (const item of items) {
    const cost = sizeOf(item) + 8; // tag and length
    const current = batches.at(-1);
    if (current === undefined || current.length >= maxItems || bytes + cost > maxBytes) {
      batches.push([item]);
      bytes = cost;
    } else {
      current.push(item);
      bytes += cost;
    }
  }
  return batches;
}

function resourceOf(file: SharedFile): Resource {
  return create(ResourceSchema, {
    path: file.path,
    sizeBytes: BigInt(file.manifest.sizeBytes),
    digest: file.digest,
    manifestDigest: file.manifestDigest,
    modifyTime: { seconds: floorDiv(file.modifiedNs, NS), nanos: Number(((file.modifiedNs % NS) + NS) % NS) },
    mediaType: file.mediaType,
  });
}

function floorDiv(a: bigint, b: bigint): bigint {
  return a / b - (a % b < 0n ? 1n : 0n);
}
