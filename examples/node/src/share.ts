/** The life of a sharing peer: registered, heartbeating, announcing, until told to stop. */
import { networkInterfaces } from "node:os";
import { readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { status } from "@grpc/grpc-js";
import { Announcer } from "./announcer.js";
import { Directory } from "./directory.js";
import type { Account, Lease, Listening } from "./directory.js";
import { DirectoryService, EndpointVerdict } from "./gen/p2p/v1/directory_pb.js";
import type { EndpointStatus } from "./gen/p2p/v1/directory_pb.js";
import type { Revision } from "./gen/p2p/v1/types_pb.js";
import type { Library } from "./library.js";
import { parseHostPort, printable, showEndpoint } from "./names.js";
import { Failure, Refusal } from "./refusal.js";
import { MAX_UPLOADS, Source } from "./source.js";

const RESCAN_MS = 3_000;
const MAX_BACKOFF_MS = 10_000;
const MAX_ENDPOINTS = 16;

export interface Ready {
  readonly endpoint: string;
  readonly resources: number;
  readonly size_bytes: number;
  readonly skipped: number;
  readonly rejected: number;
}

export class Sharing {
  private readonly directory: Directory;
  private readonly announcer = new Announcer();
  private readonly source: Source;
  private held: Revision | undefined;
  private statuses: EndpointStatus[] = [];
  private heartbeatAt = 0;
  private longestPauseMs = MAX_BACKOFF_MS;
  private rejected = 0;
  private said = "";
  private wake: () => void = () => undefined;

  private constructor(
    account: Account,
    private readonly library: Library,
    listening: Listening,
    source: Source,
    private readonly stop: AbortSignal,
    private readonly onReady: (ready: Ready) => void,
  ) {
    this.source = source;
    this.directory = new Directory(account, listening, (lease) => this.leased(lease));
    stop.addEventListener("abort", () => this.wake());
  }

  /** Shares until `stop`, then leaves. @throws Failure */
  static async run(account: Account, library: Library, listen: string, stop: AbortSignal, onReady: (ready: Ready) => void): Promise<void> {
    const unlock = lock(account.stateDir);
    let sharing: Sharing | undefined;
    const source = new Source(account.identity, account.peerId, library, () => sharing?.directory.grantTerms());
    try {
      await library.rescan();
      const listening = await bind(source, listen, account.isInsecure);
      sharing = new Sharing(account, library, listening, source, stop, onReady);
      await sharing.live();
    } finally {
      await sharing?.directory.leave();
      source.stop();
      sharing?.directory.close();
      unlock();
    }
  }

  private async live(): Promise<void> {
    await this.directory.register(); // The first one must succeed; from then on everything is retried.
    const ended = new AbortController();
    const rescans = this.rescanUntil(AbortSignal.any([this.stop, ended.signal]));
    try {
      await this.stepUntilStopped();
    } finally {
      ended.abort();
      await rescans;
    }
  }

  private async stepUntilStopped(): Promise<void> {
    for (let failures = 0; !this.stop.aborted; ) {
      try {
        await this.step();
        failures = 0;
      } catch (error) {
        const longest = Math.min(MAX_BACKOFF_MS, this.longestPauseMs, 300 * 2 ** Math.min(failures, 10));
        const pause = longest * (0.5 + Math.random() / 2);
        this.recover(error, failures === 0);
        failures += 1;
        await this.sleep(pause);
      }
    }
  }

  /** One heartbeat if due, else one batch if the directory lacks something, else sleep. */
  private async step(): Promise<void> {
    if (performance.now() >= this.heartbeatAt) {
      await this.directory.heartbeat(this.announcer.revision(), this.source.activeUploads, MAX_UPLOADS);
      return;
    }
    const limits = this.directory.info?.limits;
    const batch = limits && this.announcer.next(this.held, this.library.listed(), limits);
    if (batch === undefined) {
      this.sayIfReady();
      await this.sleep(this.heartbeatAt - performance.now());
      return;
    }
    const { heldRevision, rejectedItems } = await this.directory.call(DirectoryService.method.announce, batch);
    this.announcer.taken();
    this.held = heldRevision;
    for (const { item, message } of rejectedItems) {
      console.error(`p2p-node: not listed: ${printable(item)}: ${printable(message)}`);
      this.rejected += 1;
    }
  }

  private recover(error: unknown, isFirst: boolean): void {
    if (error instanceof Failure) {
      const isLasting = ["DIRECTORY_UNTRUSTED", "USERNAME_TAKEN", "PEER_ID_TAKEN"].includes(error.reason);
      if (isLasting) throw error;
    } else if (!(error instanceof Refusal)) {
      throw error;
    } else if (error.reason === "REVISION_MISMATCH") {
      this.announcer.mismatched();
      this.held = undefined;
      return;
    } else if (error.reason === "TOO_MANY_RESOURCES") {
      throw new Failure(7, error.reason, printable(error.message));
    }
    if (isFirst) console.error(`p2p-node: the directory is away (${printable(error.message)}); trying again, serving on`);
    const isAway = error instanceof Refusal && (error.code === status.UNAVAILABLE || error.code === status.DEADLINE_EXCEEDED);
    if (isAway) this.directory.close();
  }

  private leased(lease: Lease): void {
    this.held = lease.heldRevision;
    this.statuses = lease.endpointStatuses;
    this.heartbeatAt = lease.heartbeatAt;
    this.longestPauseMs = lease.longestPauseMs;
  }

  private sayIfReady(): void {
    const listable = this.statuses.find(({ verdict }) => verdict === EndpointVerdict.REACHABLE)
      ?? this.statuses.find(({ verdict }) => verdict === EndpointVerdict.LOCAL_ONLY);
    if (listable?.endpoint !== undefined) {
      if (this.said === "ready") return;
      this.said = "ready";
      const files = [...this.library.listed().values()];
      this.onReady({
        endpoint: showEndpoint(listable.endpoint),
        resources: files.length,
        size_bytes: files.reduce((total, { manifest }) => total + manifest.sizeBytes, 0),
        skipped: this.library.skipped,
        rejected: this.rejected,
      });
    } else if (!this.statuses.some(({ verdict }) => verdict === EndpointVerdict.PENDING) && this.said === "") {
      this.said = "unreachable";
      console.error("p2p-node: the directory reaches none of our addresses, so nobody sees us; is a firewall in between?");
    }
  }

  private async rescanUntil(end: AbortSignal): Promise<void> {
    while (!end.aborted) {
      await delay(RESCAN_MS, undefined, { signal: end }).catch(() => undefined);
      if (!end.aborted && (await this.library.rescan())) this.wake();
    }
  }

  private sleep(milliseconds: number): Promise<void> {
    if (this.stop.aborted) return Promise.resolve();
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, Math.max(0, milliseconds));
      this.wake = () => (clearTimeout(timer), resolve());
    });
  }
}

async function bind(source: Source, listen: string, isInsecure: boolean): Promise<Listening> {
  const asked = parseHostPort(listen);
  if (asked === undefined) throw new Failure(2, "USAGE", `not HOST:PORT: ${listen}`);
  const port = await source.listen(showEndpoint(asked), isInsecure).catch((error: unknown) => {
    throw new Failure(7, "CANNOT_LISTEN", `cannot listen on ${listen}: ${String(error)}`);
  });
  const isWildcard = asked.host === "::" || asked.host === "0.0.0.0";
  if (!isWildcard) return { endpoints: [{ host: asked.host, port }], allInterfacesPort: 0 };
  const endpoints = ownAddresses(asked.host === "::").map((host) => ({ host, port }));
  return { endpoints: endpoints.slice(0, MAX_ENDPOINTS), allInterfacesPort: port };
}

/** Addresses of our interfaces that may mean something to others. */
function ownAddresses(withIPv6: boolean): string[] {
  const all = Object.values(networkInterfaces()).flatMap((addresses) => addresses ?? []);
  const isLinkLocal = (address: string): boolean => /^(fe[89ab]|169\.254\.)/i.test(address);
  return all.filter((one) => !one.internal && !isLinkLocal(one.address) && (withIPv6 || one.family === "IPv4")).map((one) => one.address);
}

/** One sharer a state folder: two would fight over one peer_id. */
function lock(stateDir: string): () => void {
  const path = join(stateDir, "share.lock");
  try {
    writeFileSync(path, String(process.pid), { flag: "wx", mode: 0o600 });
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw error;
    if (isAlive(Number(readFileSync(path, "utf8")))) throw new Failure(2, "STATE_LOCKED", `another share is running on ${stateDir}`);
    rmSync(path, { force: true }); // Left behind by a killed one.
    return lock(stateDir);
  }
  return () => rmSync(path, { force: true });
}

function isAlive(pid: number): boolean {
  try {
    return pid > 0 && process.kill(pid, 0);
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "EPERM";
  }
}
