/** Our connection and session at the directory: trust, Register, calls with the session, its clock. */
import { createPublicKey } from "node:crypto";
import type { DescMessage, DescMethodUnary, MessageInitShape, MessageShape } from "@bufbuild/protobuf";
import { durationMs, timestampMs } from "@bufbuild/protobuf/wkt";
import type { Duration, Timestamp } from "@bufbuild/protobuf/wkt";
import * as grpc from "@grpc/grpc-js";
import { DirectoryService, TransportSecurity } from "./gen/p2p/v1/directory_pb.js";
import type { EndpointStatus, GetDirectoryInfoResponse } from "./gen/p2p/v1/directory_pb.js";
import type { Revision } from "./gen/p2p/v1/types_pb.js";
import type { GrantTerms } from "./grants.js";
import { DIRECTORY_NAME, fingerprintOf, registerBytes, signWith } from "./identity.js";
import type { Identity } from "./identity.js";
import { isDigest, printable } from "./names.js";
import { Failure, Refusal } from "./refusal.js";
import { Connection } from "./rpc.js";
import { certificateShownBy, KnownDirectories, pinnedTo } from "./trust.js";

const CLIENT_SOFTWARE = "p2p-node 0.1.0";
const MIN_INTERVAL_MS = 200;

export interface Account {
  readonly server: string;
  readonly user: string;
  readonly stateDir: string;
  readonly identity: Identity;
  readonly peerId: string;
  readonly isInsecure: boolean;
  readonly fingerprint: string | undefined;
}

/** Where we listen; undefined for a client-only session. */
export interface Listening {
  readonly endpoints: { host: string; port: number }[];
  /** Port on all interfaces; 0: bound to one address only */
  readonly allInterfacesPort: number;
}

export interface Lease {
  readonly heldRevision: Revision | undefined;
  readonly endpointStatuses: EndpointStatus[];
  readonly observedHost: string;
  /** By `performance.now()` */
  readonly heartbeatAt: number;
  /** A directory that comes back gives everybody one lease: tries are to be closer than that. */
  readonly longestPauseMs: number;
}

export class Directory {
  private connection: Connection | undefined;
  private directoryHash: Buffer = Buffer.alloc(0);
  private sessionToken: string | undefined;
  private clock = { directoryMs: Date.now(), at: performance.now() };
  private grantKey: GrantTerms["key"] | undefined;
  info: GetDirectoryInfoResponse | undefined;

  constructor(
    private readonly account: Account,
    private readonly listening: Listening | undefined,
    /** Called with every lease granted or renewed, also by a registration that a call made necessary. */
    private readonly onLease: (lease: Lease) => void = () => undefined,
  ) {}

  /**
   * A call with our session; registers first where there is none, and once more where it has ended.
   * @throws Refusal, Failure 5
   */
  async call<I extends DescMessage, O extends DescMessage>(
    method: DescMethodUnary<I, O>,
    request: MessageInitShape<I>,
  ): Promise<MessageShape<O>> {
    const token = this.sessionToken ?? (await this.register());
    try {
      return await (await this.connected()).unary(method, request, token);
    } catch (error) {
      if (!(error instanceof Refusal && error.reason === "SESSION_UNKNOWN")) throw error;
      this.sessionToken = undefined;
      const freshToken = await this.register();
      return await (await this.connected()).unary(method, request, freshToken);
    }
  }

  async heartbeat(revision: { epoch: string; counter: bigint }, activeUploads: number, maxUploads: number): Promise<void> {
    const renewed = await this.call(DirectoryService.method.heartbeat, { revision, load: { activeUploads, maxUploads } });
    this.setClock(renewed.directoryTime);
    this.onLease({ ...renewed, heldRevision: renewed.heldRevision, observedHost: "", ...times(renewed) });
  }

  /** What a source needs to check grants; undefined before the first registration. */
  grantTerms(): GrantTerms | undefined {
    if (this.grantKey === undefined || this.info === undefined) return undefined;
    return { directoryId: this.info.directoryId, key: this.grantKey, peerId: this.account.peerId, now: () => this.now() };
  }

  /** The directory's clock, carried on with a monotonic one. */
  now(): Date {
    return new Date(this.clock.directoryMs + performance.now() - this.clock.at);
  }

  async leave(): Promise<void> {
    if (this.sessionToken === undefined || this.connection === undefined) return;
    try {
      await this.connection.unary(DirectoryService.method.leave, {}, this.sessionToken, 3_000);
    } catch {
      // The lease then ends by itself.
    }
    this.sessionToken = undefined;
  }

  /** Drops the connection, not the session: the next call looks at the directory's certificate anew. */
  close(): void {
    this.connection?.close();
    this.connection = undefined;
  }

  async register(): Promise<string> {
    const { identity, user, peerId } = this.account;
    const connection = await this.open();
    const { challenge } = await this.getInfo(connection);
    const { certificateDer } = identity;
    const proof = signWith(identity, registerBytes({ directory: this.directoryHash, challenge, user, peerId, certificateDer }));
    const session = await this.refusalsAsFailures(() =>
      connection.unary(DirectoryService.method.register, {
        user,
        peerId,
        certificateDer,
        challenge,
        proof,
        clientSoftware: CLIENT_SOFTWARE,
        listed: this.listening !== undefined,
        endpoints: this.listening?.endpoints ?? [],
        listenPort: this.listening?.allInterfacesPort ?? 0,
      }),
    );
    this.setClock(session.directoryTime);
    this.grantKey = createPublicKey({ key: Buffer.from(session.grantKeyDer), format: "der", type: "spki" });
    this.sessionToken = session.sessionToken;
    this.onLease({ ...session, heldRevision: session.heldRevision, ...times(session) });
    return session.sessionToken;
  }

  private async connected(): Promise<Connection> {
    if (this.connection !== undefined) return this.connection;
    const connection = await this.open();
    await this.getInfo(connection);
    return connection;
  }

  /** Trusts, then connects: to exactly the certificate that was judged. */
  private async open(): Promise<Connection> {
    this.close();
    const { server, isInsecure, fingerprint, stateDir } = this.account;
    if (isInsecure) {
      this.connection = new Connection(server, grpc.credentials.createInsecure(), undefined);
      return this.connection;
    }
    const certificate = await certificateShownBy(server);
    this.directoryHash = fingerprintOf(certificate);
    new KnownDirectories(stateDir).check(server, this.directoryHash.toString("hex"), fingerprint);
    this.connection = new Connection(server, pinnedTo(certificate), DIRECTORY_NAME);
    return this.connection;
  }

  private async getInfo(connection: Connection): Promise<GetDirectoryInfoResponse> {
    const { server, isInsecure, fingerprint, stateDir } = this.account;
    const info = await this.refusalsAsFailures(() => connection.unary(DirectoryService.method.getDirectoryInfo, {}));
    const claimed = info.directoryId;
    if (!isDigest(claimed)) throw new Failure(5, "DIRECTORY_UNTRUSTED", `the directory ${server} has no proper identity`);
    const security = isInsecure ? TransportSecurity.INSECURE : TransportSecurity.TLS;
    if (info.transportSecurity !== security) {
      throw new Failure(5, "DIRECTORY_UNTRUSTED", `the directory ${server} is ${isInsecure ? "not " : ""}for --insecure`);
    }
    const known = new KnownDirectories(stateDir);
    if (isInsecure) {
      known.check(server, claimed, fingerprint);
      this.directoryHash = Buffer.from(claimed, "hex");
    } else {
      const seen = this.directoryHash.toString("hex");
      if (seen !== claimed) throw new Failure(5, "DIRECTORY_UNTRUSTED", `the directory ${server} shows ${seen} but says it is ${claimed}`);
      if (known.record(server, seen) && fingerprint === undefined) {
        console.error(`p2p-node: first contact with the directory ${server}; from now on only this key is trusted: ${seen}`);
      }
    }
    this.info = info;
    return info;
  }

  private setClock(time: Timestamp | undefined): void {
    if (time !== undefined) this.clock = { directoryMs: timestampMs(time), at: performance.now() };
  }

  private async refusalsAsFailures<T>(call: () => Promise<T>): Promise<T> {
    try {
      return await call();
    } catch (error) {
      if (!(error instanceof Refusal)) throw error;
      throw directoryFailure(error, this.account.server);
    }
  }
}

/** A refusal of the directory as the end of a command. */
export function directoryFailure(refusal: Refusal, server: string): Failure {
  const isAway = refusal.code === grpc.status.UNAVAILABLE || refusal.code === grpc.status.DEADLINE_EXCEEDED;
  const reason = refusal.reason || (isAway ? "DIRECTORY_UNREACHABLE" : grpc.status[refusal.code]);
  const what = isAway ? "cannot be reached" : "refused";
  return new Failure(5, reason, `the directory ${server} ${what}: ${printable(refusal.message)}`);
}

function times(lease: { leaseDuration?: Duration | undefined; heartbeatInterval?: Duration | undefined }): Pick<Lease, "heartbeatAt" | "longestPauseMs"> {
  const leaseMs = lease.leaseDuration === undefined ? 20_000 : durationMs(lease.leaseDuration);
  return { heartbeatAt: heartbeatAt(lease), longestPauseMs: Math.max(MIN_INTERVAL_MS, leaseMs / 3) };
}

/** When to send the next Heartbeat; half a lease if the directory's wish makes no sense. Early by up to 10 % jitter. */
function heartbeatAt(lease: { leaseDuration?: Duration | undefined; heartbeatInterval?: Duration | undefined }): number {
  const longest = lease.leaseDuration === undefined ? 10_000 : durationMs(lease.leaseDuration) / 2;
  const wished = lease.heartbeatInterval === undefined ? longest : durationMs(lease.heartbeatInterval);
  const interval = Math.max(MIN_INTERVAL_MS, Math.min(wished, longest, 3_600_000));
  return performance.now() + interval * (1 - Math.random() / 10);
}
