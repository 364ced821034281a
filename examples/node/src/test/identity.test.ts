import assert from "node:assert/strict";
import { createHash, verify, X509Certificate } from "node:crypto";
import { mkdtempSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { fingerprintOf, loadIdentity, proveIdentityBytes, registerBytes, signWith } from "../identity.js";

const stateDir = mkdtempSync(join(tmpdir(), "p2p-node-"));
const identity = loadIdentity(stateDir);
const certificate = new X509Certificate(identity.certificateDer);

test("the certificate has the profile of docs/protocol.md", () => {
  assert.ok(certificate.verify(certificate.publicKey));
  assert.equal(certificate.subjectAltName, "DNS:peer.p2p.invalid");
  assert.equal(certificate.validFrom, "Jan  1 00:00:00 2000 GMT");
  assert.equal(certificate.validTo, "Dec 31 23:59:59 9999 GMT");
  assert.equal(certificate.keyUsage, undefined);
  assert.match(certificate.serialNumber, /^01/);
  assert.equal(certificate.publicKey.asymmetricKeyDetails?.namedCurve, "prime256v1");
});

test("the identity is private, and the same next time", () => {
  assert.equal(statSync(join(stateDir, "identity.pem")).mode & 0o777, 0o600);
  assert.deepEqual(loadIdentity(stateDir).certificateDer, identity.certificateDer);
});

test("Register signs these bytes", () => {
  const directory = Buffer.alloc(32, 0xaa);
  const certificateDer = Buffer.from("certificate");
  const bytes = registerBytes({ directory, challenge: Buffer.from("xyz"), user: "zo\u00eb", peerId: "p", certificateDer });

  const expected = [
    Buffer.from("p2p.v1.Register\0").toString("hex"),
    "00000020", "aa".repeat(32),
    "00000003", "78797a",
    "00000004", "7a6fc3ab",
    "00000001", "70",
    "00000020", createHash("sha256").update("certificate").digest("hex"),
  ];
  assert.equal(bytes.toString("hex"), expected.join(""));
  assert.ok(verify("sha256", bytes, certificate.publicKey, signWith(identity, bytes)));
});

test("ProveIdentity signs these bytes", () => {
  const hex = proveIdentityBytes(Buffer.from([1, 2]), "p").toString("hex");
  assert.equal(hex, `${Buffer.from("p2p.v1.ProveIdentity\0").toString("hex")}00000002010200000001${"70"}`);
});

test("a fingerprint is 32 bytes of the public key's hash", () => {
  const spki = certificate.publicKey.export({ type: "spki", format: "der" });
  assert.deepEqual(fingerprintOf(identity.certificateDer), createHash("sha256").update(spki).digest());
});
