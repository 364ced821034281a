/** Rules for names that come from outside. Pure. Everything from the network passes here before disk or terminal. */
import { isIP } from "node:net";
import type { Endpoint } from "./gen/p2p/v1/types_pb.js";

const MAX_PATH_BYTES = 1024;
const MAX_PART_BYTES = 255;
const MAX_LEVELS = 64;

/** Control, format, surrogate, private use, unassigned; line and paragraph separators; not the two joiners. */
const UNPRINTABLE = /[\p{C}\u2028\u2029]/u;
const JOINERS = /[\u200c\u200d]/gu;

/** A relative POSIX path as the contract allows it. */
export function isSharedPath(path: string): boolean {
  if (path.normalize("NFC") !== path || path.includes("\\") || !isPrintable(path)) return false;
  if (Buffer.byteLength(path) > MAX_PATH_BYTES) return false;
  const parts = path.split("/");
  return parts.length <= MAX_LEVELS && parts.every(isPart);
}

function isPart(part: string): boolean {
  return part !== "" && part !== "." && part !== ".." && Buffer.byteLength(part) <= MAX_PART_BYTES;
}

function isPrintable(text: string): boolean {
  return !UNPRINTABLE.test(text.replace(JOINERS, ""));
}

/** Text for people from the other side, made harmless for a terminal. */
export function printable(text: string): string {
  return text.slice(0, 2000).replace(new RegExp(UNPRINTABLE, "gu"), "\u{fffd}");
}

export function isUserName(name: string): boolean {
  return /^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/.test(name);
}

export function isPeerId(id: string): boolean {
  return /^[A-Za-z0-9_-]{16,64}$/.test(id);
}

export function isDigest(text: string): boolean {
  return /^[0-9a-f]{64}$/.test(text);
}

/** An address literal with a port: never a DNS name, never a zone. */
export function isEndpoint({ host, port }: Endpoint): boolean {
  return isIP(host) !== 0 && !host.includes("%") && port >= 1 && port <= 65535;
}

export function showEndpoint({ host, port }: { host: string; port: number }): string {
  return host.includes(":") ? `[${host}]:${port}` : `${host}:${port}`;
}

/** `HOST:PORT` or `[HOST]:PORT` as people write it; undefined if it is neither. */
export function parseHostPort(text: string): { host: string; port: number } | undefined {
  const match = /^(?:\[([^\]]+)\]|([^:[\]]+)):(\d{1,5})$/.exec(text);
  const host = match?.[1] ?? match?.[2];
  const port = Number(match?.[3]);
  return host !== undefined && port <= 65535 ? { host, port } : undefined;
}

/** An int64 of the wire as a number: sizes and offsets beyond 2^53 are refused, not rounded. */
export function sizeFromWire(value: bigint): number {
  if (value < 0n || value > BigInt(Number.MAX_SAFE_INTEGER)) throw new RangeError(`not a size: ${value}`);
  return Number(value);
}
