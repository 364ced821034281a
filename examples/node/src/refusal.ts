/**
 * Errors: what the contract says on the wire (`Refusal`, both directions) and how a command ends (`Failure`).
 *
 * A Refusal is a status code plus one google.rpc.ErrorInfo. It travels as a google.rpc.Status in the
 * trailer `grpc-status-details-bin`, which grpc-js leaves to us to read and write.
 */
import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { anyPack, anyUnpack } from "@bufbuild/protobuf/wkt";
import * as grpc from "@grpc/grpc-js";
import { ErrorInfoSchema, StatusSchema } from "./gen/google/rpc/status_pb.js";
import { ErrorReason } from "./gen/p2p/v1/types_pb.js";

const DOMAIN = "p2p.v1";
const DETAILS = "grpc-status-details-bin";

/** A name of ErrorReason without its prefix, which is also what protoc-gen-es calls the values. */
export type Reason = keyof typeof ErrorReason;

export class Refusal extends Error {
  constructor(
    readonly code: grpc.status,
    /** Empty where the other side sent none, and for what gRPC itself reports (no connection, deadline). */
    readonly reason: string,
    message: string,
    readonly facts: Record<string, string> = {},
  ) {
    super(message);
  }
}

/** A refusal of ours; the reason is checked by the compiler. */
export function refuse(code: grpc.status, reason: Reason, message: string, facts: Record<string, string> = {}): Refusal {
  return new Refusal(code, reason, message, facts);
}

export function toStatus(error: unknown): grpc.ServerErrorResponse {
  const refusal =
    error instanceof Refusal ? error : refuse(grpc.status.INTERNAL, "INTERNAL", "internal error of this peer");
  if (refusal !== error) console.error(error);
  const info = create(ErrorInfoSchema, { reason: refusal.reason, domain: DOMAIN, metadata: refusal.facts });
  const status = create(StatusSchema, {
    code: refusal.code,
    message: refusal.message,
    details: [anyPack(ErrorInfoSchema, info)],
  });
  const metadata = new grpc.Metadata();
  metadata.set(DETAILS, Buffer.from(toBinary(StatusSchema, status)));
  return Object.assign(new Error(refusal.message), { code: refusal.code, details: refusal.message, metadata });
}

export function fromServiceError(error: grpc.ServiceError): Refusal {
  const details = error.metadata?.get(DETAILS)[0];
  let reason = "";
  let facts: Record<string, string> = {};
  if (details instanceof Buffer) {
    try {
      for (const any of fromBinary(StatusSchema, details).details) {
        const info = anyUnpack(any, ErrorInfoSchema);
        if (info?.domain === DOMAIN) [reason, facts] = [info.reason, { ...info.metadata }];
      }
    } catch {
      // Details that cannot be read are as good as none: the status code still stands.
    }
  }
  return new Refusal(error.code, reason, error.details || error.message, facts);
}

/** The end of a command: exit status, and the reason in its JSON error line. */
export class Failure extends Error {
  constructor(
    readonly exitCode: 1 | 2 | 3 | 4 | 5 | 6 | 7,
    readonly reason: string,
    message: string,
    readonly facts: Record<string, unknown> = {},
  ) {
    super(message);
  }
}
