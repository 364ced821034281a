/** A real Source on a real port, over pinned TLS, asked by those who may and those who may not. */
import assert from "node:assert/strict";
import { generateKeyPairSync } from "node:crypto";
import { appendFile, mkdtemp, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { status } from "@grpc/grpc-js";
import { blake3 } from "@napi-rs/blake-hash";
import { SignJWT } from "jose";
import type { JWTPayload } from "jose";
import { PeerService } from "../gen/p2p/v1/peer_pb.js";
import { loadIdentity, newPeerId, PEER_NAME } from "../identity.js";
import { Library } from "../library.js";
import { manifestDigest } from "../content.js";
import { Refusal } from "../refusal.js";
import { Connection } from "../rpc.js";
import { Source } from "../source.js";
import { pinnedTo } from "../trust.js";

const NOW = 1_800_000_000;
const directoryKey = generateKeyPairSync("ec", { namedCurve: "prime256v1" });
const content = Buffer.alloc(3 * 1024 * 1024 + 17, "content ");
const digest = blake3(content).toString("hex");
const peerId = newPeerId();
const claims: JWTPayload = { iss: "d".repeat(64), aud: peerId, sub: "bob", iat: NOW, exp: NOW + 3600, digests: [digest] };

let folder = "";
let source: Source;
let connection: Connection;

before(async () => {
  folder = await mkdtemp(join(tmpdir(), "p2p-node-"));
  await writeFile(join(folder, "file"), content);
  const library = await Library.of([join(folder, "file")]);
  await library.rescan();
  const identity = loadIdentity(join(folder, "state"));
  const terms = { directoryId: "d".repeat(64), key: directoryKey.publicKey, peerId, now: () => new Date(NOW * 1000) };
  source = new Source(identity, peerId, library, () => terms);
  const port = await source.listen("127.0.0.1:0", false);
  connection = new Connection(`127.0.0.1:${port}`, pinnedTo(identity.certificateDer), PEER_NAME);
});

after(() => {
  connection.close();
  source.stop();
});

function grant(changes: Record<string, unknown> = {}, key = directoryKey.privateKey): Promise<string> {
  return new SignJWT({ ...claims, ...changes }).setProtectedHeader({ alg: "ES256", typ: "JWT" }).sign(key);
}

async function fetched(token: string, range: { readOffset?: bigint; readLimit?: bigint; maxChunkBytes?: number } = {}): Promise<Buffer> {
  const chunks: Uint8Array[] = [];
  for await (const { data } of connection.serverStream(PeerService.method.fetchFile, { digest, ...range }, token, 5000)) chunks.push(data);
  return Buffer.concat(chunks);
}

function refusedWith(code: status, reason: string): (error: unknown) => boolean {
  return (error) => {
    assert.ok(error instanceof Refusal);
    assert.deepEqual([status[error.code], error.reason], [status[code], reason]);
    return true;
  };
}

const FORGED = generateKeyPairSync("ec", { namedCurve: "prime256v1" }).privateKey;
const part = (value: object): string => Buffer.from(JSON.stringify(value)).toString("base64url");

const BAD_GRANTS: [string, () => Promise<string> | string, status, string][] = [
  ["no grant", () => "", status.UNAUTHENTICATED, "GRANT_MISSING"],
  ["no JWT", () => "nonsense", status.UNAUTHENTICATED, "GRANT_INVALID"],
  ["a grant signed by another key", () => grant({}, FORGED), status.UNAUTHENTICATED, "GRANT_INVALID"],
  ["a grant without signature", () => `${part({ alg: "none" })}.${part(claims)}.`, status.UNAUTHENTICATED, "GRANT_INVALID"],
  ["a grant of another directory", () => grant({ iss: "e".repeat(64) }), status.UNAUTHENTICATED, "GRANT_INVALID"],
  ["a grant without expiry", () => grant({ exp: undefined }), status.UNAUTHENTICATED, "GRANT_INVALID"],
  ["a grant expired beyond the leeway", () => grant({ iat: NOW - 900, exp: NOW - 121 }), status.UNAUTHENTICATED, "GRANT_EXPIRED"],
  ["a grant of the future", () => grant({ iat: NOW + 121 }), status.UNAUTHENTICATED, "GRANT_EXPIRED"],
  ["a grant for another source", () => grant({ aud: newPeerId() }), status.PERMISSION_DENIED, "GRANT_MISMATCH"],
  ["a grant for other contents", () => grant({ digests: ["0".repeat(64)] }), status.PERMISSION_DENIED, "GRANT_MISMATCH"],
  ["a grant for nothing", () => grant({ digests: [] }), status.PERMISSION_DENIED, "GRANT_MISMATCH"],
];

for (const [what, make, code, reason] of BAD_GRANTS) {
  test(`${what} is refused with ${reason}`, async () => {
    const token = await make();
    await assert.rejects(fetched(token), refusedWith(code, reason));
    await assert.rejects(connection.unary(PeerService.method.getManifest, { digest }, token), refusedWith(code, reason));
  });
}

test("a grant within the leeway, or for all, opens", async () => {
  assert.deepEqual(await fetched(await grant({ exp: NOW - 60 })), content);
  assert.deepEqual(await fetched(await grant({ digests: undefined, all: true })), content);
});

test("the manifest is the one of the content", async () => {
  const { manifest } = await connection.unary(PeerService.method.getManifest, { digest }, await grant());
  assert.equal(manifest?.sizeBytes, BigInt(content.length));
  assert.equal(manifest.pieceDigests.length, 4 * 32);
  assert.match(manifestDigest({ sizeBytes: content.length, pieceSizeBytes: 1 << 20, pieceDigests: manifest.pieceDigests }), /^[0-9a-f]{64}$/);
});

test("ranges have the meaning of google.bytestream.Read", async () => {
  const token = await grant();
  const size = BigInt(content.length);
  assert.deepEqual(await fetched(token, { readOffset: 5n, readLimit: 7n, maxChunkBytes: 1 }), content.subarray(5, 12));
  assert.deepEqual(await fetched(token, { readOffset: size - 3n, readLimit: 100n }), content.subarray(-3));
  assert.equal((await fetched(token, { readOffset: size })).length, 0);
  const outside = [{ readOffset: size + 1n }, { readOffset: -1n }, { readLimit: -1n }, { readOffset: 2n ** 62n, readLimit: 2n ** 62n }];
  for (const range of outside) await assert.rejects(fetched(token, range), refusedWith(status.OUT_OF_RANGE, "RANGE_INVALID"));
});

test("unknown and malformed digests are told apart", async () => {
  const all = await grant({ digests: undefined, all: true });
  const ask = (what: string): Promise<unknown> => connection.unary(PeerService.method.getManifest, { digest: what }, all);
  await assert.rejects(ask("0".repeat(64)), refusedWith(status.NOT_FOUND, "CONTENT_UNKNOWN"));
  await assert.rejects(ask("../etc/passwd"), refusedWith(status.INVALID_ARGUMENT, "FIELD_INVALID"));
  const stranger = connection.unary(PeerService.method.getManifest, { digest: "../etc/passwd" });
  await assert.rejects(stranger, refusedWith(status.UNAUTHENTICATED, "GRANT_MISSING"));
});

test("a nonce is signed only if it is 16 to 64 bytes long", async () => {
  const ask = (length: number): Promise<unknown> => connection.unary(PeerService.method.proveIdentity, { nonce: Buffer.alloc(length) });
  await ask(16);
  await assert.rejects(ask(15), refusedWith(status.INVALID_ARGUMENT, "FIELD_INVALID"));
});

test("a peer with another certificate is not connected to", async () => {
  const other = loadIdentity(join(folder, "other"));
  const impostor = new Source(other, peerId, await Library.of([join(folder, "file")]), () => undefined);
  const port = await impostor.listen("127.0.0.1:0", false);
  const mine = loadIdentity(join(folder, "state"));
  const pinned = new Connection(`127.0.0.1:${port}`, pinnedTo(mine.certificateDer), PEER_NAME);

  await assert.rejects(pinned.ready(1500));

  pinned.close();
  impostor.stop();
});

test("a file that changed is not served as what it was", async () => {
  await appendFile(join(folder, "file"), "more");
  await assert.rejects(fetched(await grant()), refusedWith(status.ABORTED, "CONTENT_CHANGED"));
});
