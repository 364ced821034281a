/** Grants: who may fetch what from us, by the directory's word. Pure but for the signature check. */
import type { KeyObject } from "node:crypto";
import { status } from "@grpc/grpc-js";
import { errors, jwtVerify } from "jose";
import type { JWTPayload } from "jose";
import { isDigest } from "./names.js";
import { refuse } from "./refusal.js";

const LEEWAY_SECONDS = 120;

/** What we know since we registered; `now` is the directory's clock. */
export interface GrantTerms {
  readonly directoryId: string;
  readonly key: KeyObject;
  readonly peerId: string;
  readonly now: () => Date;
}

/**
 * Returns if the bearer of this `authorization` value may have the content.
 * @throws Refusal GRANT_MISSING, GRANT_INVALID, GRANT_EXPIRED, then FIELD_INVALID, GRANT_MISMATCH: strangers learn nothing
 */
export async function checkGrant(authorization: string | undefined, digest: string, terms: GrantTerms): Promise<void> {
  const token = /^Bearer +(\S+)$/i.exec(authorization ?? "")?.[1];
  if (token === undefined) throw refuse(status.UNAUTHENTICATED, "GRANT_MISSING", "the call carries no grant");
  const claims = await verify(token, terms);
  if (!isDigest(digest)) throw refuse(status.INVALID_ARGUMENT, "FIELD_INVALID", "a digest is 64 lower-case hex", { field: "digest" });
  const listed = claims["digests"];
  const covered = claims["all"] === true || (Array.isArray(listed) && listed.includes(digest));
  if (!covered) throw refuse(status.PERMISSION_DENIED, "GRANT_MISMATCH", "the grant is for other contents");
}

async function verify(token: string, terms: GrantTerms): Promise<JWTPayload> {
  const now = terms.now();
  try {
    const { payload } = await jwtVerify(token, terms.key, {
      algorithms: ["ES256"],
      issuer: terms.directoryId,
      audience: terms.peerId,
      clockTolerance: LEEWAY_SECONDS,
      currentDate: now,
      requiredClaims: ["sub", "iat", "exp"],
    });
    if ((payload.iat ?? 0) > now.getTime() / 1000 + LEEWAY_SECONDS) {
      throw refuse(status.UNAUTHENTICATED, "GRANT_EXPIRED", "the grant is not valid yet");
    }
    return payload;
  } catch (error) {
    if (error instanceof errors.JWTExpired) throw refuse(status.UNAUTHENTICATED, "GRANT_EXPIRED", "the grant has expired");
    if (error instanceof errors.JWTClaimValidationFailed && error.claim === "aud" && error.reason === "check_failed") {
      throw refuse(status.PERMISSION_DENIED, "GRANT_MISMATCH", "the grant is for another source");
    }
    if (error instanceof errors.JOSEError) throw refuse(status.UNAUTHENTICATED, "GRANT_INVALID", "the grant is not a valid one of this directory");
    throw error;
  }
}
