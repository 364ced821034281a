#!/usr/bin/env node
/** The command line: JSON lines on stdout, sentences on stderr, the exit status of p2p-client. */
import { homedir } from "node:os";
import { basename, join } from "node:path";
import { parseArgs } from "node:util";
import { Directory, directoryFailure } from "./directory.js";
import type { Account } from "./directory.js";
import { Download } from "./download.js";
import { loadIdentity, loadPeerId, newPeerId } from "./identity.js";
import { Library } from "./library.js";
import { isUserName, parseHostPort } from "./names.js";
import { Failure, Refusal } from "./refusal.js";
import { peersOnline, query, resolve } from "./resolve.js";
import { Sharing } from "./share.js";
import { TargetFile } from "./target.js";

const USAGE = `usage: p2p-node --server HOST:PORT --user NAME [--state-dir DIR] [--insecure] [--fingerprint FP] COMMAND
  search [WORDS...] | peers | get TARGET [-o FILE] [--overwrite] | share PATH... [--listen HOST:PORT]`;

const OPTIONS = {
  server: { type: "string" }, user: { type: "string" }, "state-dir": { type: "string" }, fingerprint: { type: "string" },
  insecure: { type: "boolean" }, json: { type: "boolean" }, help: { type: "boolean", short: "h" },
  output: { type: "string", short: "o" }, overwrite: { type: "boolean" }, listen: { type: "string" },
} as const;

function parse(): ReturnType<typeof parseArgs<{ options: typeof OPTIONS; allowPositionals: true }>> {
  try {
    return parseArgs({ options: OPTIONS, allowPositionals: true });
  } catch (error) {
    throw usage((error as Error).message);
  }
}

type Flags = ReturnType<typeof parse>["values"];

function usage(message: string): Failure {
  return new Failure(2, "USAGE", `${message}\n${USAGE}`);
}

function emit(line: object): void {
  process.stdout.write(`${JSON.stringify(line)}\n`);
}

function account(flags: Flags, isSharing: boolean): Account {
  const server = flags.server ?? process.env["P2P_SERVER"];
  const user = flags.user ?? process.env["P2P_USER"];
  if (server === undefined || parseHostPort(server) === undefined) throw usage("--server HOST:PORT is missing or malformed");
  if (user === undefined || !isUserName(user)) throw usage("--user NAME is missing or malformed");
  if (flags.fingerprint !== undefined && !/^[0-9a-f]{64}$/.test(flags.fingerprint)) throw usage("--fingerprint is 64 lower-case hex");
  const stateDir = flags["state-dir"] ?? process.env["P2P_STATE_DIR"] ?? join(homedir(), ".p2p-node");
  return {
    server, user, stateDir,
    identity: loadIdentity(stateDir),
    peerId: isSharing ? loadPeerId(stateDir) : newPeerId(),
    isInsecure: flags.insecure ?? Boolean(Number(process.env["P2P_INSECURE"] ?? 0)),
    fingerprint: flags.fingerprint,
  };
}

/** Runs with a client-only session. */
async function withSession(who: Account, work: (directory: Directory) => Promise<void>): Promise<void> {
  const directory = new Directory(who, undefined);
  try {
    await work(directory);
  } catch (error) {
    throw error instanceof Refusal ? directoryFailure(error, who.server) : error;
  } finally {
    await directory.leave();
    directory.close();
  }
}

async function get(directory: Directory, who: Account, text: string, flags: Flags): Promise<void> {
  const startedAt = performance.now();
  const { digest, name } = await resolve(directory, text);
  const target = await TargetFile.create(flags.output ?? name, flags.overwrite ?? false);
  const interrupted = (): void => void target.discard().finally(() => process.exit(130));
  process.once("SIGINT", interrupted).once("SIGTERM", interrupted);
  try {
    const shown = `b3:${digest}`;
    emit({ event: "started", path: target.path, digest: shown });
    const download = new Download(directory, digest, target, who.isInsecure, ({ user, peerId }, why) => {
      emit({ event: "source_failed", user, peer_id: peerId, message: why });
      console.error(`p2p-node: source ${user}: ${why}`);
    });
    const { sizeBytes, fetchedBytes, sources } = await download.run();
    await target.publish();
    const seconds = Math.round(performance.now() - startedAt) / 1000;
    emit({
      event: "finished", path: target.path, digest: shown, size_bytes: sizeBytes, fetched_bytes: fetchedBytes, resumed_bytes: 0, seconds, sources,
    });
    console.error(`${basename(target.path)}: ${sizeBytes} bytes in ${seconds} s from ${sources.join(", ")}`);
  } finally {
    await target.discard(); // Harmless once published.
  }
}

async function share(who: Account, paths: string[], listen: string): Promise<number> {
  const stop = new AbortController();
  let exitStatus = 0;
  process.once("SIGTERM", () => stop.abort());
  process.once("SIGINT", () => ((exitStatus = 130), stop.abort()));
  await Sharing.run(who, await Library.of(paths), listen, stop.signal, (ready) => emit({ event: "ready", ...ready }));
  return exitStatus;
}

async function main(): Promise<number> {
  const { values: flags, positionals } = parse();
  const [command, ...operands] = positionals;
  if (flags.help) {
    console.error(USAGE);
    return 0;
  }
  switch (command) {
    case "search": {
      await withSession(account(flags, false), async (directory) => {
        for await (const found of query(directory, { text: operands.join(" ") })) emit(found);
      });
      return 0;
    }
    case "peers": {
      await withSession(account(flags, false), async (directory) => {
        for await (const peer of peersOnline(directory)) emit(peer);
      });
      return 0;
    }
    case "get": {
      const [target] = operands;
      if (target === undefined || operands.length > 1) throw usage("get wants one TARGET");
      const who = account(flags, false);
      await withSession(who, (directory) => get(directory, who, target, flags));
      return 0;
    }
    case "share": {
      if (operands.length === 0) throw usage("share wants a PATH");
      return share(account(flags, true), operands, flags.listen ?? "[::]:0");
    }
    default:
      throw usage(command === undefined ? "no command" : `no such command: ${command}`);
  }
}

try {
  process.exitCode = await main();
} catch (error) {
  const failure = error instanceof Failure ? error : new Failure(1, "INTERNAL", error instanceof Error ? (error.stack ?? error.message) : String(error));
  emit({ event: "error", code: failure.exitCode, reason: failure.reason, message: failure.message, ...failure.facts });
  console.error(`p2p-node: ${failure.message}`);
  for (const candidate of (failure.facts["candidates"] as string[] | undefined) ?? []) console.error(candidate);
  process.exitCode = failure.exitCode;
}
