package main

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/binary"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"time"
)

const peerName = "peer.p2p.invalid"

// Identity is a user's key and the certificate that presents it.
type Identity struct {
	Key         *ecdsa.PrivateKey
	Certificate []byte // DER
}

// loadIdentity reads the identity of a state folder, or makes one.
func loadIdentity(stateDir string) (*Identity, error) {
	file := filepath.Join(stateDir, "identity.pem")
	text, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		if text, err = newIdentity(); err == nil {
			text, err = keepOnce(file, text)
		}
	}
	if err != nil {
		return nil, err
	}
	pair, err := tls.X509KeyPair(text, text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	key, ok := pair.PrivateKey.(*ecdsa.PrivateKey)
	if !ok || key.Curve != elliptic.P256() {
		return nil, fmt.Errorf("%s holds no P-256 key", file)
	}
	return &Identity{key, pair.Certificate[0]}, nil
}

// newIdentity makes a key and a certificate of the profile in docs/protocol.md, as PEM.
func newIdentity() ([]byte, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, err
	}
	profile := &x509.Certificate{
		SerialNumber:       serial.Add(serial, big.NewInt(1)),
		Subject:            pkix.Name{CommonName: peerName},
		NotBefore:          time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC),
		NotAfter:           time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC),
		DNSNames:           []string{peerName},
		SignatureAlgorithm: x509.ECDSAWithSHA256,
	}
	certificate, err := x509.CreateCertificate(rand.Reader, profile, profile, key.Public(), key)
	if err != nil {
		return nil, err
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	var text bytes.Buffer
	err = errors.Join(
		pem.Encode(&text, &pem.Block{Type: "PRIVATE KEY", Bytes: private}),
		pem.Encode(&text, &pem.Block{Type: "CERTIFICATE", Bytes: certificate}))
	return text.Bytes(), err
}

// Sign signs with ECDSA-SHA256, in ASN.1.
func (id *Identity) Sign(message []byte) ([]byte, error) {
	sum := sha256.Sum256(message)
	return ecdsa.SignASN1(rand.Reader, id.Key, sum[:])
}

// TLS is the certificate in the form that crypto/tls wants.
func (id *Identity) TLS() tls.Certificate {
	return tls.Certificate{Certificate: [][]byte{id.Certificate}, PrivateKey: id.Key}
}

// signedBytes is a context, a zero byte, and each field after its length.
func signedBytes(context string, fields ...[]byte) []byte {
	message := append([]byte(context), 0)
	for _, field := range fields {
		message = binary.BigEndian.AppendUint32(message, uint32(len(field)))
		message = append(message, field...)
	}
	return message
}

// registerBytes is what Register signs; directory is its fingerprint, not in hex.
func registerBytes(directory [32]byte, challenge []byte, user, peerID string, certificate []byte) []byte {
	sum := sha256.Sum256(certificate)
	return signedBytes("p2p.v1.Register", directory[:], challenge, []byte(user), []byte(peerID), sum[:])
}

// proveIdentityBytes is what ProveIdentity signs.
func proveIdentityBytes(nonce []byte, peerID string) []byte {
	return signedBytes("p2p.v1.ProveIdentity", nonce, []byte(peerID))
}

// randomID is fit for a peer_id, an epoch or a snapshot_id.
func randomID() string {
	var raw [16]byte
	rand.Read(raw[:])
	return base64.RawURLEncoding.EncodeToString(raw[:])
}

// loadPeerID gives the peer_id that this folder shares under.
func loadPeerID(stateDir string) (string, error) {
	file := filepath.Join(stateDir, "peer_id")
	text, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		text, err = keepOnce(file, []byte(randomID()+"\n"))
	}
	if err != nil {
		return "", err
	}
	id := strings.TrimSpace(string(text))
	if !peerIDPattern.MatchString(id) {
		return "", fmt.Errorf("%s holds no peer_id", file)
	}
	return id, nil
}

// keepOnce stores a private file that is never replaced; of two programs that begin together the
// first wins, and both get what it stored.
func keepOnce(file string, text []byte) ([]byte, error) {
	temp, err := writeTemp(file, text)
	if err != nil {
		return nil, err
	}
	defer os.Remove(temp)
	if err := os.Link(temp, file); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, err
	}
	return os.ReadFile(file)
}

// writeTemp writes a private file beside the named one, on disk when it returns.
func writeTemp(file string, text []byte) (string, error) {
	temp, err := os.CreateTemp(filepath.Dir(file), ".new-*")
	if err != nil {
		return "", err
	}
	_, err = temp.Write(text)
	if err = errors.Join(err, temp.Sync(), temp.Close()); err != nil {
		os.Remove(temp.Name())
		return "", err
	}
	return temp.Name(), nil
}
