/** Digests and manifests: what a content is, piece by piece. No I/O but reading a handle that is given. */
import type { FileHandle } from "node:fs/promises";
import { Blake3Hasher, blake3 } from "@napi-rs/blake-hash";

const MIB = 1024 * 1024;
const MAX_PIECES = 65_536;
export const DIGEST_BYTES = 32;

export interface Manifest {
  readonly sizeBytes: number;
  readonly pieceSizeBytes: number;
  /** shape (pieceCount * 32,) */
  readonly pieceDigests: Uint8Array;
}

export function pieceSizeFor(sizeBytes: number): number {
  let pieceSize = MIB;
  while (Math.ceil(sizeBytes / pieceSize) > MAX_PIECES) pieceSize *= 2;
  return pieceSize;
}

export function pieceCount(manifest: Manifest): number {
  return Math.ceil(manifest.sizeBytes / manifest.pieceSizeBytes);
}

/** Offset and length of a piece; the last one may be short. */
export function pieceRange(manifest: Manifest, index: number): { offset: number; length: number } {
  const offset = index * manifest.pieceSizeBytes;
  return { offset, length: Math.min(manifest.pieceSizeBytes, manifest.sizeBytes - offset) };
}

export function pieceIsRight(manifest: Manifest, index: number, bytes: Uint8Array): boolean {
  return blake3(bytes).equals(manifest.pieceDigests.subarray(index * DIGEST_BYTES, (index + 1) * DIGEST_BYTES));
}

/** Piece size and number of digests follow from the size; anything else is a lie or another version. */
export function fitsItsSize(manifest: Manifest): boolean {
  return (
    manifest.pieceSizeBytes === pieceSizeFor(manifest.sizeBytes) &&
    manifest.pieceDigests.length === pieceCount(manifest) * DIGEST_BYTES
  );
}

export function manifestDigest(manifest: Manifest): string {
  const head = Buffer.alloc(32);
  head.write("p2p.v1.Manifest\0", "latin1");
  head.writeBigUInt64BE(BigInt(manifest.sizeBytes), 16);
  head.writeBigUInt64BE(BigInt(manifest.pieceSizeBytes), 24);
  return blake3(Buffer.concat([head, manifest.pieceDigests])).toString("hex");
}

/**
 * Digest and manifest of the first `sizeBytes` of an open file.
 * @throws RangeError the file is shorter
 */
export async function hashFile(file: FileHandle, sizeBytes: number): Promise<{ digest: string; manifest: Manifest }> {
  const whole = new Blake3Hasher();
  const pieceSizeBytes = pieceSizeFor(sizeBytes);
  const pieceDigests: Uint8Array[] = [];
  for (let offset = 0; offset < sizeBytes; ) {
    const piece = new Blake3Hasher();
    const pieceEnd = Math.min(offset + pieceSizeBytes, sizeBytes);
    while (offset < pieceEnd) {
      const block = await readExactly(file, offset, Math.min(MIB, pieceEnd - offset));
      whole.update(block);
      piece.update(block);
      offset += block.length;
    }
    pieceDigests.push(piece.digestBuffer());
  }
  const manifest = { sizeBytes, pieceSizeBytes, pieceDigests: Buffer.concat(pieceDigests) };
  return { digest: whole.digest("hex"), manifest };
}

/** @throws RangeError the file ends before */
export async function readExactly(file: FileHandle, offset: number, length: number): Promise<Buffer> {
  const block = Buffer.allocUnsafe(length);
  for (let filled = 0; filled < length; ) {
    const { bytesRead } = await file.read(block, filled, length - filled, offset + filled);
    if (bytesRead === 0) throw new RangeError("the file is shorter than it was");
    filled += bytesRead;
  }
  return block;
}
