import assert from "node:assert/strict";
import { test } from "node:test";
import { create } from "@bufbuild/protobuf";
import { EndpointSchema } from "../gen/p2p/v1/types_pb.js";
import { isEndpoint, isSharedPath, parseHostPort, printable, sizeFromWire } from "../names.js";

const LAWFUL = ["a", "photos/2024/a.jpg", "aux.c", "a:b", " a", "-rf", ".hidden", "\u00e9", "\u0645\u06cc\u200c\u062e", "x".repeat(255)];
const UNLAWFUL = [
  "", "/a", "a/", "a//b", ".", "..", "a/../b", "./a", "a\\b", "e\u0301", "a\nb", "a\u0000", "a\u001b[2J", "a\u202eb", "a\u200b",
  "\ue000", "\ud800", "x".repeat(256), `${"a/".repeat(64)}a`, "\u00e9/".repeat(400) + "a",
];

for (const path of LAWFUL) test(`${JSON.stringify(path)} may be shared`, () => assert.ok(isSharedPath(path)));
for (const path of UNLAWFUL) test(`${JSON.stringify(path)} is refused`, () => assert.equal(isSharedPath(path), false));

test("an endpoint is an address literal with a port", () => {
  const is = (host: string, port: number): boolean => isEndpoint(create(EndpointSchema, { host, port }));
  assert.ok(is("10.0.0.1", 1) && is("2001:db8::1", 65_535));
  assert.ok(!is("localhost", 80) && !is("fe80::1%eth0", 80) && !is("[::1]", 80) && !is("10.0.0.1", 0));
});

test("HOST:PORT is read with brackets and without", () => {
  assert.deepEqual(parseHostPort("[::1]:50051"), { host: "::1", port: 50051 });
  assert.deepEqual(parseHostPort("files.lab:1"), { host: "files.lab", port: 1 });
  for (const wrong of ["files.lab", "::1:80", "a:70000", ":80"]) assert.equal(parseHostPort(wrong), undefined);
});

test("text for a terminal loses its escapes", () => assert.equal(printable("a\u001b[31m\u202e"), "a\ufffd[31m\ufffd"));

test("sizes beyond what a number holds are refused, not rounded", () => {
  assert.equal(sizeFromWire(9_007_199_254_740_991n), Number.MAX_SAFE_INTEGER);
  assert.throws(() => sizeFromWire(9_007_199_254_740_992n), RangeError);
  assert.throws(() => sizeFromWire(-1n), RangeError);
});
