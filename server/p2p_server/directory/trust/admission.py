"""Whether an application to register comes from who it says, and is meant for this directory."""

from p2p_server.directory.presence.registration import Application
from p2p_server.directory.trust.certificates import PeerCertificate, checked_peer_certificate
from p2p_server.directory.trust.challenges import Challenges
from p2p_server.directory.trust.proofs import check_proof, register_bytes


class Admission:
    def __init__(self, challenges: Challenges, directory_id: str) -> None:
        self._challenges = challenges
        self._directory_id = directory_id

    def challenge(self, now: float) -> bytes:
        return self._challenges.make(now)

    def admit(self, application: Application, now: float) -> PeerCertificate:
        """The certificate whose key the applicant holds; `now` in Unix seconds.

        Raises ChallengeInvalid, CertificateInvalid, ProofInvalid, Overloaded.
        """
        self._challenges.check(application.challenge, now)
        certificate = checked_peer_certificate(application.certificate_der)
        signed = register_bytes(
            self._directory_id,
            application.challenge,
            application.user,
            application.peer_id,
            application.certificate_der,
        )
        check_proof(certificate.public_key, application.proof, signed)
        self._challenges.use(application.challenge, now)
        return certificate
