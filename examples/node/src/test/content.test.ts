import assert from "node:assert/strict";
import { mkdtemp, open, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { blake3 } from "@napi-rs/blake-hash";
import { fitsItsSize, hashFile, manifestDigest, pieceIsRight, pieceSizeFor } from "../content.js";

const MIB = 1024 * 1024;

test("the manifest of abc has the digest that docs/protocol.md prints", () => {
  const manifest = { sizeBytes: 3, pieceSizeBytes: MIB, pieceDigests: blake3(Buffer.from("abc")) };
  assert.equal(manifestDigest(manifest), "1174b28416b3e7d6dc0ae7483df08bc1e1fb4433b610f5a8edc146899b9ebcfb");
});

test("a piece is one mebibyte, doubled until there are at most 65,536", () => {
  assert.deepEqual([0, 1, 65_536 * MIB, 65_536 * MIB + 1].map(pieceSizeFor), [MIB, MIB, MIB, 2 * MIB]);
});

for (const [size, pieces] of [[0, 0], [1, 1], [MIB - 1, 1], [MIB, 1], [MIB + 1, 2], [3 * MIB, 3]] as const) {
  test(`a file of ${size} bytes has ${pieces} pieces, and the digest of the whole`, async () => {
    const content = Buffer.alloc(size, "p2p");
    const path = join(await mkdtemp(join(tmpdir(), "p2p-node-")), "file");
    await writeFile(path, content);
    const handle = await open(path);

    const { digest, manifest } = await hashFile(handle, size);
    await handle.close();

    assert.equal(digest, blake3(content).toString("hex"));
    assert.equal(manifest.pieceDigests.length, 32 * pieces);
    assert.ok(fitsItsSize(manifest));
    if (pieces > 0) assert.ok(pieceIsRight(manifest, pieces - 1, content.subarray((pieces - 1) * MIB)));
  });
}

test("a manifest with another piece size, or too few digests, does not fit", () => {
  const pieceDigests = Buffer.alloc(32);
  assert.equal(fitsItsSize({ sizeBytes: 3, pieceSizeBytes: 2 * MIB, pieceDigests }), false);
  assert.equal(fitsItsSize({ sizeBytes: MIB + 1, pieceSizeBytes: MIB, pieceDigests }), false);
});
