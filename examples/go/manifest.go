package main

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io"

	"lukechampine.com/blake3"

	pb "p2pshare.example/go/p2pv1"
)

const (
	digestBytes  = 32
	minPieceSize = 1 << 20
	maxPieces    = 65_536
)

// pieceSizeOf follows from the size of a content: 1 MiB, doubled until there are few enough pieces.
func pieceSizeOf(size int64) int64 {
	piece := int64(minPieceSize)
	for pieceCount(size, piece) > maxPieces {
		piece *= 2
	}
	return piece
}

func pieceCount(size, pieceSize int64) int64 {
	if size == 0 {
		return 0
	}
	return (size-1)/pieceSize + 1
}

// Manifest says how to verify a content piece by piece.
type Manifest struct {
	Size      int64
	PieceSize int64
	Pieces    []byte // BLAKE3 of each piece, 32 bytes, in order
}

// manifestFromWire refuses a manifest whose numbers do not fit each other.
func manifestFromWire(m *pb.Manifest) (*Manifest, error) {
	size := m.GetSizeBytes()
	if size < 0 || m.GetPieceSizeBytes() != pieceSizeOf(size) {
		return nil, fmt.Errorf("a manifest of size %d with pieces of %d", size, m.GetPieceSizeBytes())
	}
	if int64(len(m.GetPieceDigests())) != digestBytes*pieceCount(size, m.GetPieceSizeBytes()) {
		return nil, fmt.Errorf("a manifest of size %d with %d bytes of digests", size, len(m.GetPieceDigests()))
	}
	return &Manifest{size, m.GetPieceSizeBytes(), m.GetPieceDigests()}, nil
}

func (m *Manifest) toWire() *pb.Manifest {
	return &pb.Manifest{SizeBytes: m.Size, PieceSizeBytes: m.PieceSize, PieceDigests: m.Pieces}
}

// Digest is the BLAKE3 of the canonical bytes, in hex.
func (m *Manifest) Digest() string {
	canonical := append(make([]byte, 0, 32+len(m.Pieces)), "p2p.v1.Manifest\x00"...)
	canonical = binary.BigEndian.AppendUint64(canonical, uint64(m.Size))
	canonical = binary.BigEndian.AppendUint64(canonical, uint64(m.PieceSize))
	digest := blake3.Sum256(append(canonical, m.Pieces...))
	return hex.EncodeToString(digest[:])
}

// Count is the number of pieces.
func (m *Manifest) Count() int { return len(m.Pieces) / digestBytes }

// Span is where piece i lies in the content.
func (m *Manifest) Span(i int) (offset, length int64) {
	offset = int64(i) * m.PieceSize
	return offset, min(m.PieceSize, m.Size-offset)
}

// Verifies tells whether data is piece i.
func (m *Manifest) Verifies(i int, data []byte) bool {
	return blake3.Sum256(data) == [digestBytes]byte(m.Pieces[i*digestBytes:])
}

// hashContent reads size bytes and gives their digest and manifest; an early end is an error.
func hashContent(r io.Reader, size int64) (string, *Manifest, error) {
	m := &Manifest{Size: size, PieceSize: pieceSizeOf(size)}
	whole := blake3.New(digestBytes, nil)
	buffer := make([]byte, min(m.PieceSize, size))
	for done := int64(0); done < size; {
		piece := buffer[:min(m.PieceSize, size-done)]
		if _, err := io.ReadFull(r, piece); err != nil {
			return "", nil, err
		}
		whole.Write(piece)
		digest := blake3.Sum256(piece)
		m.Pieces = append(m.Pieces, digest[:]...)
		done += int64(len(piece))
	}
	return hex.EncodeToString(whole.Sum(nil)), m, nil
}
