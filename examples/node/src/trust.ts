/** Whom we talk to: the directory as in ssh (first contact is recorded), a peer by the certificate that is listed for it. */
import { readFileSync, renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import * as tls from "node:tls";
import * as grpc from "@grpc/grpc-js";
import { DIRECTORY_NAME, toPem } from "./identity.js";
import { parseHostPort } from "./names.js";
import { Failure } from "./refusal.js";

export function pinnedTo(certificateDer: Uint8Array): grpc.ChannelCredentials {
  return grpc.credentials.createSsl(Buffer.from(toPem(certificateDer)));
}

/** The certificate that a server shows. Says nothing about whether to trust it: nothing may be sent on this connection. */
export function certificateShownBy(server: string, timeoutMs = 10_000): Promise<Buffer> {
  const address = parseHostPort(server);
  if (address === undefined) throw new Failure(2, "USAGE", `not HOST:PORT: ${server}`);
  return new Promise((resolve, reject) => {
    const socket = tls.connect({
      ...address,
      servername: DIRECTORY_NAME,
      ALPNProtocols: ["h2"],
      minVersion: "TLSv1.2",
      rejectUnauthorized: false,
    });
    const fail = (why: string): void => {
      socket.destroy();
      reject(new Failure(5, "DIRECTORY_UNREACHABLE", `the directory ${server} ${why}`));
    };
    socket.setTimeout(timeoutMs, () => fail("does not answer"));
    socket.once("error", (error: NodeJS.ErrnoException) => {
      const isPlain = error.code === "EPROTO" || error.code === "ECONNRESET" || error.code?.startsWith("ERR_SSL");
      fail(isPlain ? `does not speak TLS (${error.code}); --insecure if that is meant` : `cannot be reached: ${error.message}`);
    });
    socket.once("secureConnect", () => {
      const shown = socket.getPeerX509Certificate();
      socket.destroy();
      if (shown === undefined) fail("shows no certificate");
      else resolve(shown.raw);
    });
  });
}

/** Fingerprints of directories met before, by the address they were met at. */
export class KnownDirectories {
  private readonly path: string;

  constructor(stateDir: string) {
    this.path = join(stateDir, "known_directories.json");
  }

  /** @throws Failure 5 the fingerprint differs from the one given or recorded */
  check(server: string, fingerprint: string, given: string | undefined): void {
    const expected = given ?? this.load()[server];
    if (expected === undefined || expected === fingerprint) return;
    const by = given === undefined ? "the one recorded is" : "--fingerprint expects";
    const warning = "somebody may be between you and it; check the fingerprint with its operator";
    throw new Failure(5, "DIRECTORY_UNTRUSTED", `the directory ${server} shows the key ${fingerprint}, but ${by} ${expected}: ${warning}`);
  }

  /** Remembers a directory; true if it was not known. */
  record(server: string, fingerprint: string): boolean {
    const known = this.load();
    if (known[server] === fingerprint) return false;
    const fresh = `${this.path}.${process.pid}`;
    writeFileSync(fresh, `${JSON.stringify({ ...known, [server]: fingerprint }, null, 2)}\n`, { mode: 0o600, flush: true });
    renameSync(fresh, this.path);
    return true;
  }

  private load(): Record<string, string> {
    try {
      return JSON.parse(readFileSync(this.path, "utf8")) as Record<string, string>;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === "ENOENT") return {};
      throw new Failure(7, "STATE_UNREADABLE", `${this.path} cannot be read: ${String(error)}`);
    }
  }
}

