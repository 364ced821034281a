import assert from "node:assert/strict";
import { test } from "node:test";
import { create } from "@bufbuild/protobuf";
import { Announcer } from "../announcer.js";
import { LimitsSchema } from "../gen/p2p/v1/types_pb.js";
import type { SharedFile } from "../library.js";

const limits = create(LimitsSchema, { maxAnnounceItems: 2, maxRequestBytes: 1 << 20 });

function library(...paths: string[]): Map<string, SharedFile> {
  const file = (path: string): SharedFile => ({
    path, diskPath: `/${path}`, digest: "0".repeat(64), manifestDigest: "1".repeat(64), modifiedNs: -1n, mediaType: "", stamp: "",
    manifest: { sizeBytes: 0, pieceSizeBytes: 1 << 20, pieceDigests: new Uint8Array() },
  });
  return new Map(paths.map((path) => [path, file(path)]));
}

test("a directory that holds nothing gets a snapshot in batches, then deltas", () => {
  const announcer = new Announcer();
  const files = library("a", "b", "c");

  const first = announcer.next(undefined, files, limits);
  assert.deepEqual(first?.resources.map(({ path }) => path), ["a", "b"]);
  assert.deepEqual([first?.snapshot?.batchIndex, first?.snapshot?.last], [0, false]);
  assert.equal(announcer.next(undefined, files, limits), first, "resent unchanged until it was taken");
  announcer.taken();
  const second = announcer.next(undefined, files, limits);
  assert.deepEqual([second?.snapshot?.batchIndex, second?.snapshot?.last], [1, true]);
  assert.equal(second?.snapshot?.snapshotId, first?.snapshot?.snapshotId);
  announcer.taken();
  const held = second?.revision;
  assert.equal(announcer.next(held, files, limits), undefined);

  files.delete("a");
  const delta = announcer.next(held, files, limits);
  assert.deepEqual([delta?.base, delta?.withdrawnPaths, delta?.snapshot], [held, ["a"], undefined]);
  assert.ok((delta?.revision?.counter ?? 0n) > (held?.counter ?? 0n));
});

test("after a mismatch everything is announced anew", () => {
  const announcer = new Announcer();
  announcer.next(undefined, library("a"), limits);
  announcer.taken();
  announcer.mismatched();
  assert.equal(announcer.next(undefined, library("a"), limits)?.snapshot?.last, true);
});

test("times before 1970 have positive nanoseconds", () => {
  const time = new Announcer().next(undefined, library("a"), limits)?.resources[0]?.modifyTime;
  assert.deepEqual([time?.seconds, time?.nanos], [-1n, 999_999_999]);
});
