/** Who we are: a P-256 key, its self-signed certificate, and what is signed with it. */
import { createHash, createPrivateKey, generateKeyPairSync, randomBytes, sign, X509Certificate } from "node:crypto";
import type { KeyObject } from "node:crypto";
import { linkSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";

export const PEER_NAME = "peer.p2p.invalid";
export const DIRECTORY_NAME = "directory.p2p.invalid";

export interface Identity {
  readonly privateKey: KeyObject;
  readonly keyPem: string;
  readonly certificatePem: string;
  readonly certificateDer: Buffer;
}

/** The identity of a state folder, made on first use. Private to its owner. */
export function loadIdentity(stateDir: string): Identity {
  mkdirSync(stateDir, { recursive: true, mode: 0o700 });
  const pem = createOnce(join(stateDir, "identity.pem"), () => {
    const { privateKey, publicKey } = generateKeyPairSync("ec", { namedCurve: "prime256v1" });
    const certificate = selfSigned(privateKey, publicKey, PEER_NAME);
    return privateKey.export({ type: "pkcs8", format: "pem" }).toString() + toPem(certificate);
  });
  const certificate = new X509Certificate(pem.slice(pem.indexOf("-----BEGIN CERTIFICATE")));
  const privateKey = createPrivateKey(pem);
  return {
    privateKey,
    keyPem: privateKey.export({ type: "pkcs8", format: "pem" }).toString(),
    certificatePem: toPem(certificate.raw),
    certificateDer: certificate.raw,
  };
}

/** The peer_id of a state folder: kept, so that the directory knows this library again. */
export function loadPeerId(stateDir: string): string {
  return createOnce(join(stateDir, "peer_id"), newPeerId).trim();
}

export function newPeerId(): string {
  return randomBytes(16).toString("base64url");
}

/** Content of a file, made once: two processes that start together end up with the same. */
function createOnce(path: string, make: () => string): string {
  try {
    return readFileSync(path, "utf8");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw error;
  }
  const fresh = `${path}.${randomBytes(6).toString("hex")}`;
  writeFileSync(fresh, make(), { mode: 0o600, flag: "wx", flush: true });
  try {
    linkSync(fresh, path);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw error;
  } finally {
    rmSync(fresh);
  }
  return readFileSync(path, "utf8");
}

/** SHA-256 of the DER SubjectPublicKeyInfo. */
export function fingerprintOf(certificateDer: Uint8Array): Buffer {
  const spki = new X509Certificate(certificateDer).publicKey.export({ type: "spki", format: "der" });
  return createHash("sha256").update(spki).digest();
}

export interface RegisterProof {
  /** 32 bytes: fingerprint of the directory as we saw it */
  readonly directory: Uint8Array;
  readonly challenge: Uint8Array;
  readonly user: string;
  readonly peerId: string;
  readonly certificateDer: Uint8Array;
}

export function registerBytes(proof: RegisterProof): Buffer {
  const certificateHash = createHash("sha256").update(proof.certificateDer).digest();
  return framed("p2p.v1.Register\0", [proof.directory, proof.challenge, utf8(proof.user), utf8(proof.peerId), certificateHash]);
}

export function proveIdentityBytes(nonce: Uint8Array, peerId: string): Buffer {
  return framed("p2p.v1.ProveIdentity\0", [nonce, utf8(peerId)]);
}

/** ECDSA-SHA256, ASN.1 DER. */
export function signWith(identity: Identity, bytes: Uint8Array): Buffer {
  return sign("sha256", bytes, identity.privateKey);
}

function framed(context: string, fields: Uint8Array[]): Buffer {
  const length = (field: Uint8Array): Buffer => {
    const prefix = Buffer.alloc(4);
    prefix.writeUInt32BE(field.length);
    return prefix;
  };
  return Buffer.concat([Buffer.from(context, "latin1"), ...fields.flatMap((field) => [length(field), field])]);
}

function utf8(text: string): Buffer {
  return Buffer.from(text, "utf8");
}

export function toPem(certificateDer: Uint8Array): string {
  const lines = Buffer.from(certificateDer).toString("base64").match(/.{1,64}/g) ?? [];
  return `-----BEGIN CERTIFICATE-----\n${lines.join("\n")}\n-----END CERTIFICATE-----\n`;
}

/** A certificate of the profile in docs/protocol.md: forty lines of DER instead of a dependency. */
export function selfSigned(privateKey: KeyObject, publicKey: KeyObject, dnsName: string): Buffer {
  const algorithm = sequence(oid("2a8648ce3d040302")); // ecdsa-with-SHA256
  const name = sequence(der(0x31, sequence(oid("550403"), der(0x0c, utf8(dnsName))))); // CN
  const validity = sequence(der(0x17, utf8("000101000000Z")), der(0x18, utf8("99991231235959Z")));
  const subjectAltName = sequence(oid("551d11"), der(0x04, sequence(der(0x82, utf8(dnsName)))));
  const serial = Buffer.concat([Buffer.from([0x01]), randomBytes(15)]); // first byte 01: positive, shortest form
  const body = sequence(
    der(0xa0, der(0x02, Buffer.from([2]))), // version 3
    der(0x02, serial),
    algorithm,
    name,
    validity,
    name,
    publicKey.export({ type: "spki", format: "der" }),
    der(0xa3, sequence(subjectAltName)),
  );
  const signature = Buffer.concat([Buffer.from([0]), sign("sha256", body, privateKey)]);
  return sequence(body, algorithm, der(0x03, signature));
}

function der(tag: number, ...parts: Uint8Array[]): Buffer {
  const body = Buffer.concat(parts);
  const length = body.length < 128 ? [body.length] : body.length < 256 ? [0x81, body.length] : [0x82, body.length >> 8, body.length & 255];
  return Buffer.concat([Buffer.from([tag, ...length]), body]);
}

function sequence(...parts: Uint8Array[]): Buffer {
  return der(0x30, ...parts);
}

function oid(hex: string): Buffer {
  return der(0x06, Buffer.from(hex, "hex"));
}
