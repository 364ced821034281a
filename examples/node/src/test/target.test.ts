import assert from "node:assert/strict";
import { mkdtemp, readdir, readFile, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { Failure } from "../refusal.js";
import { TargetFile } from "../target.js";

const isTargetExists = (error: unknown): boolean => error instanceof Failure && error.exitCode === 7 && error.reason === "TARGET_EXISTS";

test("a file that came into being meanwhile is not replaced", async () => {
  const folder = await mkdtemp(join(tmpdir(), "p2p-node-"));
  const path = join(folder, "file");
  const target = await TargetFile.create(path, false);
  await writeFile(path, "theirs");

  await assert.rejects(target.publish(), isTargetExists);
  await target.discard();

  assert.equal(await readFile(path, "utf8"), "theirs");
  assert.deepEqual(await readdir(folder), ["file"]);
});

test("an existing file is refused at once, and replaced when told to", async () => {
  const path = join(await mkdtemp(join(tmpdir(), "p2p-node-")), "file");
  await writeFile(path, "old");
  await assert.rejects(TargetFile.create(path, false), isTargetExists);
  const target = await TargetFile.create(path, true);
  await target.handle.write("new");

  await target.publish();

  assert.equal(await readFile(path, "utf8"), "new");
});
