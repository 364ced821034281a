/** One download: locate, manifest, pieces from all sources of a group at once, the whole checked, the name given. */
import { hashFile, pieceCount, pieceRange } from "./content.js";
import type { Manifest } from "./content.js";
import type { Directory } from "./directory.js";
import { Fetcher, SourceMisbehaved } from "./fetcher.js";
import type { Located } from "./fetcher.js";
import { DirectoryService } from "./gen/p2p/v1/directory_pb.js";
import { isDigest, isEndpoint, isPeerId, isUserName, printable, sizeFromWire } from "./names.js";
import { Failure, Refusal } from "./refusal.js";
import type { TargetFile } from "./target.js";

const MAX_RANGE_PIECES = 64;
const MAX_SOURCES = 8;
const RETRIES = 3;

/** Holdings of one content under one manifest. Pieces of a download never come from two groups. */
interface Group {
  readonly manifestDigest: string;
  readonly sizeBytes: number;
  readonly sources: Located[];
}

export interface Done {
  readonly sizeBytes: number;
  readonly fetchedBytes: number;
  readonly sources: string[];
}

export type SourceFailed = (source: Located, why: string) => void;

export class Download {
  private fetchedBytes = 0;
  private readonly served = new Set<string>();

  constructor(
    private readonly directory: Directory,
    private readonly digest: string,
    private readonly target: TargetFile,
    private readonly isInsecure: boolean,
    private readonly onSourceFailed: SourceFailed,
  ) {}

  /** @throws Failure 3 nobody has it, 6 nobody delivered it, 7 the disk refused */
  async run(): Promise<Done> {
    const groups = await this.locate();
    if (groups.length === 0) throw new Failure(6, "NO_SOURCE", `no source of b3:${this.digest} can be reached now`);
    for (const group of groups) {
      if (!(await this.fetchGroup(group))) continue;
      return { sizeBytes: group.sizeBytes, fetchedBytes: this.fetchedBytes, sources: [...this.served].sort() };
    }
    throw new Failure(6, "TRANSFER_FAILED", `no source delivered b3:${this.digest}`);
  }

  /** Groups, those with most sources first. */
  private async locate(): Promise<Group[]> {
    const groups = new Map<string, Group>();
    let pageToken = "";
    do {
      const page = await this.directory.call(DirectoryService.method.locate, { digests: [this.digest], pageToken });
      const sources = new Map(page.sources.map((source) => [source.peerId, source]));
      for (const holding of page.holdings) {
        const source = sources.get(holding.peerId);
        // Sources of a part only are left to clients that can ask which part.
        if (source === undefined || holding.partial || holding.digest !== this.digest || !isDigest(holding.manifestDigest)) continue;
        if (!isPeerId(source.peerId) || !isUserName(source.user)) continue;
        const sizeBytes = sizeFromWire(holding.sizeBytes);
        const key = `${holding.manifestDigest} ${sizeBytes}`;
        const group = groups.get(key) ?? { manifestDigest: holding.manifestDigest, sizeBytes, sources: [] };
        group.sources.push({ ...source, endpoints: source.endpoints.filter(isEndpoint) });
        groups.set(key, group);
      }
      pageToken = page.nextPageToken;
    } while (pageToken !== "");
    return [...groups.values()].sort((a, b) => b.sources.length - a.sources.length);
  }

  /** True once the whole is on disk and has the digest; false if this group cannot or must not deliver it. */
  private async fetchGroup(group: Group): Promise<boolean> {
    const sources = group.sources.slice(0, MAX_SOURCES);
    const work = new Work(sources.length);
    await Promise.all(sources.map((source) => this.drain(source, sources.length, group, work).finally(() => work.leave())));
    if (!work.isDone()) return false;
    await this.target.handle.truncate(group.sizeBytes).catch(diskRefused);
    const { digest } = await hashFile(this.target.handle, group.sizeBytes);
    if (digest === this.digest) return true;
    for (const source of group.sources) this.onSourceFailed(source, "the manifest it lists leads to another content");
    return false;
  }

  /** Takes ranges from the work until it is done or the source fails for good. Never throws for a source's fault. */
  private async drain(source: Located, sources: number, group: Group, work: Work): Promise<void> {
    for (let attempt = 0; attempt <= RETRIES && !work.isDone(); attempt += 1) {
      let fetcher: Fetcher | undefined;
      try {
        if (attempt > 0 && (await work.isDoneWithin(300 * 2 ** attempt))) return;
        fetcher = await Fetcher.connect(source, this.digest, this.isInsecure);
        if (!work.isStarted()) work.start(await fetcher.manifest(group.manifestDigest, group.sizeBytes));
        for (let range = await work.take(); range !== undefined; range = await work.take()) {
          await this.fetchRange(fetcher, source, work, range, sources === 1);
          attempt = 0; // It delivered: its failures count anew.
        }
        return;
      } catch (error) {
        if (error instanceof Failure) {
          work.stop();
          throw error;
        }
        this.onSourceFailed(source, printable(whyOf(error)));
        if (error instanceof SourceMisbehaved || !isWorthRetrying(error)) return;
        source = (await this.withFreshGrant(source, error)) ?? source;
      } finally {
        fetcher?.close();
      }
    }
  }

  private async fetchRange(fetcher: Fetcher, source: Located, work: Work, range: Range, waitInQueue: boolean): Promise<void> {
    let next = range.first;
    try {
      for await (const { index, bytes } of fetcher.pieces(work.manifest(), range.first, range.last, waitInQueue)) {
        await this.target.handle.write(bytes, 0, bytes.length, pieceRange(work.manifest(), index).offset).catch(diskRefused);
        this.fetchedBytes += bytes.length;
        this.served.add(source.user);
        next = index + 1;
        work.finished();
      }
    } finally {
      if (next <= range.last) work.giveBack({ first: next, last: range.last });
    }
  }

  private async withFreshGrant(source: Located, error: unknown): Promise<Located | undefined> {
    if (!(error instanceof Refusal && error.reason === "GRANT_EXPIRED")) return undefined;
    const groups = await this.locate().catch(() => []);
    return groups.flatMap((group) => group.sources).find(({ peerId }) => peerId === source.peerId);
  }
}

interface Range {
  readonly first: number;
  readonly last: number;
}

/** Ranges of pieces still to fetch, handed out to whoever asks; large at first, small towards the end. */
class Work {
  private known: Manifest | undefined;
  private ranges: Range[] = [];
  private missing = 0;
  private isStopped = false;
  private waiting: (() => void)[] = [];

  constructor(private takers: number) {}

  isStarted(): boolean {
    return this.known !== undefined;
  }

  /** The first manifest counts: all of a group are the same, by their digest. */
  start(manifest: Manifest): void {
    if (this.known !== undefined) return;
    this.known = manifest;
    this.missing = pieceCount(manifest);
    if (this.missing > 0) this.ranges = [{ first: 0, last: this.missing - 1 }];
  }

  manifest(): Manifest {
    if (this.known === undefined) throw new Error("no manifest yet");
    return this.known;
  }

  isDone(): boolean {
    return this.known !== undefined && this.missing === 0;
  }

  /** The next range; waits while others hold all of them, since they may give some back. Undefined: all is done. */
  async take(): Promise<Range | undefined> {
    for (;;) {
      if (this.isDone() || this.isStopped) return undefined;
      const range = this.ranges.shift();
      if (range === undefined) {
        await new Promise<void>((resolve) => this.waiting.push(resolve));
        continue;
      }
      const share = this.takers > 1 ? Math.ceil(this.missing / (2 * this.takers)) : this.missing;
      const last = Math.min(range.last, range.first + Math.min(MAX_RANGE_PIECES, Math.max(1, share)) - 1);
      if (last < range.last) this.ranges.unshift({ first: last + 1, last: range.last });
      return { first: range.first, last };
    }
  }

  isDoneWithin(milliseconds: number): Promise<boolean> {
    return new Promise((resolve) => {
      const timer = setTimeout(() => resolve(this.isDone()), milliseconds);
      const look = (): void => {
        if (!this.isDone()) return void this.waiting.push(look);
        clearTimeout(timer);
        resolve(true);
      };
      look();
    });
  }

  giveBack(range: Range): void {
    this.ranges.push(range);
    this.wake();
  }

  finished(): void {
    this.missing -= 1;
    if (this.missing === 0) this.wake();
  }

  /** One who took ranges takes no more. */
  leave(): void {
    this.takers -= 1;
  }

  /** Hands out nothing more. */
  stop(): void {
    this.isStopped = true;
    this.wake();
  }

  private wake(): void {
    for (const resume of this.waiting.splice(0)) resume();
  }
}

function diskRefused(error: unknown): never {
  throw new Failure(6, "DISK_FAILED", `cannot write: ${String(error)}`);
}

function whyOf(error: unknown): string {
  if (error instanceof Refusal) return error.reason || error.message;
  if (error instanceof AggregateError) return "none of its addresses answers as that peer";
  return error instanceof Error ? error.message : String(error);
}

/** A source that does not have it (any more) is not asked again; one that is busy, away or stalled is. */
function isWorthRetrying(error: unknown): boolean {
  return !(error instanceof Refusal && ["CONTENT_UNKNOWN", "CONTENT_CHANGED", "GRANT_MISMATCH", "GRANT_INVALID"].includes(error.reason));
}
