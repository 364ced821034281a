package main

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"
)

const directoryName = "directory.p2p.invalid"

func fingerprintOf(certificate *x509.Certificate) [32]byte {
	return sha256.Sum256(certificate.RawSubjectPublicKeyInfo)
}

// pin accepts one key and nothing else, and remembers having seen another.
type pin struct {
	server string
	want   [32]byte
	broken atomic.Pointer[failure]
}

// config verifies the pinned key inside the handshake itself, on every connection: this takes the
// place of a root and a host name, so the usual checks are off.
func (p *pin) config() *tls.Config {
	return &tls.Config{
		MinVersion:         tls.VersionTLS12,
		ServerName:         directoryName,
		InsecureSkipVerify: true,
		VerifyConnection: func(state tls.ConnectionState) error {
			shown := fingerprintOf(state.PeerCertificates[0])
			if shown == p.want {
				return nil
			}
			f := failf(exitDirectory, "DIRECTORY_UNTRUSTED",
				"the directory %s shows the key %x, but the one trusted is %x: nothing was sent to it",
				p.server, shown, p.want)
			p.broken.Store(f)
			return f
		},
	}
}

// trustDirectory finds the key to trust at an address: the one given, else the one recorded, else
// the one that it shows now, which is recorded.
func trustDirectory(ctx context.Context, server, stateDir, given string) (*pin, error) {
	file := filepath.Join(stateDir, "directories.json")
	known := map[string]string{}
	if text, err := os.ReadFile(file); err == nil {
		if err := json.Unmarshal(text, &known); err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
	} else if !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}

	recorded := known[server]
	if given != "" && recorded != "" && given != recorded {
		return nil, failf(exitDirectory, "DIRECTORY_UNTRUSTED",
			"--fingerprint %s, but %s is recorded for the directory %s", given, recorded, server)
	}
	if recorded == "" {
		shown, err := look(ctx, server)
		if err != nil {
			return nil, failf(exitDirectory, "DIRECTORY_UNREACHABLE", "the directory %s: %v", server, err)
		}
		recorded = hex.EncodeToString(shown[:])
		switch given {
		case recorded:
		case "":
			say("first contact with the directory %s; from now on only this key is trusted, so compare it: %s", server, recorded)
		default:
			return nil, failf(exitDirectory, "DIRECTORY_UNTRUSTED",
				"the directory %s shows the key %s, but the one trusted is %s: nothing was sent to it", server, recorded, given)
		}
		known[server] = recorded
		if err := store(file, known); err != nil {
			return nil, err
		}
	}
	want, err := hex.DecodeString(recorded)
	if err != nil || len(want) != 32 {
		return nil, fmt.Errorf("%s: %q is no fingerprint", file, recorded)
	}
	return &pin{server: server, want: [32]byte(want)}, nil
}

// store replaces the recorded keys.
func store(file string, known map[string]string) error {
	text, err := json.MarshalIndent(known, "", "  ")
	if err != nil {
		return err
	}
	temp, err := writeTemp(file, append(text, '\n'))
	if err != nil {
		return err
	}
	return os.Rename(temp, file)
}

// look is the first contact: whose key is it? Nothing is sent over this connection.
func look(ctx context.Context, server string) ([32]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	dialer := tls.Dialer{Config: &tls.Config{
		MinVersion: tls.VersionTLS12, ServerName: directoryName, NextProtos: []string{"h2"}, InsecureSkipVerify: true,
	}}
	conn, err := dialer.DialContext(ctx, "tcp", server)
	if err != nil {
		return [32]byte{}, err
	}
	defer conn.Close()
	return fingerprintOf(conn.(*tls.Conn).ConnectionState().PeerCertificates[0]), nil
}

// sourceTLS trusts the one certificate that the directory lists for a source.
func sourceTLS(der []byte) (*tls.Config, error) {
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	roots.AddCert(certificate)
	return &tls.Config{MinVersion: tls.VersionTLS12, ServerName: peerName, RootCAs: roots}, nil
}
