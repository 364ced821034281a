// Program p2p-go is a client of the p2p.v1 network: it searches, fetches and shares. It was written
// from the .proto files and docs/protocol.md alone, to show what a client of one's own takes.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	pb "p2pshare.example/go/p2pv1"
)

const usage = `Usage: p2p-go [OPTIONS] COMMAND

  search [WORDS...] [--owner U] [--glob G] [--limit N]   find resources
  peers                                                  who is online and shares
  get TARGET [-o FILE] [--overwrite]                     fetch b3:DIGEST, OWNER:PATH, a path or a name
  share PATH... [--listen HOST:PORT]                     share files and folders until stopped

Options, before or after COMMAND:
`

// options are the flags of all commands.
type options struct {
	server, user, stateDir, fingerprint string
	insecure                            bool
	owner, glob                         string
	limit                               int
	output                              string
	overwrite                           bool
	listen                              string
}

type event map[string]any

var output sync.Mutex

// emit writes one JSON object as one line on stdout.
func emit(e event) {
	output.Lock()
	defer output.Unlock()
	encoder := json.NewEncoder(os.Stdout)
	encoder.SetEscapeHTML(false)
	_ = encoder.Encode(e)
}

// say writes a line for people on stderr.
func say(format string, args ...any) { fmt.Fprintf(os.Stderr, "p2p-go: "+format+"\n", args...) }

func main() {
	ctx, cancel := context.WithCancelCause(context.Background())
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	go func() {
		cancel(stoppedBy{<-signals})
		<-signals // the second time at once
		os.Exit(130)
	}()

	err := run(ctx, os.Args[1:])
	var stopped stoppedBy
	switch {
	case errors.As(context.Cause(ctx), &stopped) && stopped.Signal == os.Interrupt:
		os.Exit(130)
	case errors.As(context.Cause(ctx), &stopped) && err != nil:
		os.Exit(143) // a share that was asked to stop is done, a get is not
	case errors.Is(err, flag.ErrHelp):
		os.Exit(0)
	case err != nil:
		f := asFailure(err)
		say("%s", f.message)
		emit(event{"event": "error", "code": f.exit, "reason": f.reason, "message": f.message})
		os.Exit(f.exit)
	}
}

type stoppedBy struct{ os.Signal }

func (s stoppedBy) Error() string { return s.String() }

// run carries out one command line.
func run(ctx context.Context, args []string) error {
	o, words, err := parse(args)
	if err != nil {
		return err
	}
	if len(words) == 0 {
		return failf(exitUsage, "USAGE", "no command; p2p-go --help shows what there is")
	}
	command, words := words[0], words[1:]
	switch {
	case command == "search", command == "peers" && len(words) == 0, command == "get" && len(words) == 1, command == "share" && len(words) > 0:
	default:
		return failf(exitUsage, "USAGE", "not a command: %s; p2p-go --help shows what there is", strings.Join(append([]string{command}, words...), " "))
	}
	if o.server == "" || !userPattern.MatchString(o.user) {
		return failf(exitUsage, "USAGE", "--server HOST:PORT and --user NAME are needed")
	}
	if err := os.MkdirAll(o.stateDir, 0o700); err != nil {
		return failf(exitRefused, "STATE_UNWRITABLE", "%v", err)
	}
	if command == "share" {
		return share(ctx, o, words)
	}

	// One-shot commands are a peer of their own that is not listed.
	d, err := o.directory(ctx, randomID())
	if err != nil {
		return err
	}
	defer d.Close()
	if err := d.Register(ctx); err != nil {
		return d.directoryFailure(err)
	}
	switch command {
	case "search":
		return search(ctx, d, o, words)
	case "peers":
		return peers(ctx, d)
	}
	return get(ctx, d, o, words[0])
}

// parse takes flags before, between and after the words.
func parse(args []string) (*options, []string, error) {
	o := &options{}
	flags := flag.NewFlagSet("p2p-go", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	flags.StringVar(&o.server, "server", os.Getenv("P2P_SERVER"), "`HOST:PORT` of the directory")
	flags.StringVar(&o.user, "user", os.Getenv("P2P_USER"), "your `NAME`")
	flags.StringVar(&o.stateDir, "state-dir", defaultStateDir(), "`DIR` of your key and settings")
	flags.StringVar(&o.fingerprint, "fingerprint", "", "`FP` of the directory's key, known beforehand")
	flags.BoolVar(&o.insecure, "insecure", os.Getenv("P2P_INSECURE") == "1" || os.Getenv("P2P_INSECURE") == "true", "without TLS")
	flags.StringVar(&o.owner, "owner", "", "search: only of this `USER`")
	flags.StringVar(&o.glob, "glob", "", "search: `PATTERN` for the name, or the whole path")
	flags.IntVar(&o.limit, "limit", 1000, "search: at most `N`; 0: all")
	flags.StringVar(&o.output, "o", "", "get: save as `FILE`")
	flags.StringVar(&o.output, "output", "", "get: save as `FILE`")
	flags.BoolVar(&o.overwrite, "overwrite", false, "get: replace a file that is there already")
	flags.StringVar(&o.listen, "listen", ":0", "share: `HOST:PORT` to serve at")
	flags.Bool("json", true, "always so")
	var words []string
	for {
		if err := flags.Parse(args); errors.Is(err, flag.ErrHelp) {
			flags.SetOutput(os.Stderr)
			fmt.Fprint(os.Stderr, usage)
			flags.PrintDefaults()
			return nil, nil, err
		} else if err != nil {
			return nil, nil, failf(exitUsage, "USAGE", "%v", err)
		}
		rest := flags.Args()
		if taken := len(args) - len(rest); taken > 0 && args[taken-1] == "--" {
			return o, append(words, rest...), nil
		}
		if len(rest) == 0 {
			return o, words, nil
		}
		words, args = append(words, rest[0]), rest[1:]
	}
}

func defaultStateDir() string {
	if dir := os.Getenv("P2P_STATE_DIR"); dir != "" {
		return dir
	}
	dir, err := os.UserConfigDir()
	if err != nil {
		dir = "."
	}
	return filepath.Join(dir, "p2p-go")
}

// directory prepares the session of one peer_id.
func (o *options) directory(ctx context.Context, peerID string) (*Directory, error) {
	identity, err := loadIdentity(o.stateDir)
	if err != nil {
		return nil, err
	}
	var trusted *pin
	if !o.insecure {
		if trusted, err = trustDirectory(ctx, o.server, o.stateDir, o.fingerprint); err != nil {
			return nil, err
		}
	}
	return openDirectory(o.server, o.user, peerID, identity, trusted)
}

func search(ctx context.Context, d *Directory, o *options, words []string) error {
	hits, err := query(ctx, d, &pb.QueryRequest{Text: strings.Join(words, " "), Owner: o.owner, Glob: o.glob}, o.limit)
	for _, h := range hits {
		path := h.GetPath()
		emit(event{"name": path[strings.LastIndex(path, "/")+1:], "path": path, "size_bytes": h.GetSizeBytes(), "digest": "b3:" + h.GetDigest(),
			"owner": h.owner, "endpoint": h.endpoint, "mtime": h.GetModifyTime().AsTime().Format(time.RFC3339Nano), "media_type": printable(h.GetMediaType())})
	}
	return err
}

func peers(ctx context.Context, d *Directory) error {
	for token := ""; ; {
		page, err := d.ListPeers(ctx, &pb.ListPeersRequest{PageToken: token})
		if err != nil {
			return d.directoryFailure(err)
		}
		for _, p := range page.GetPeers() {
			emit(event{"user": printable(p.GetUser()), "peer_id": printable(p.GetPeerId()), "endpoint": firstEndpoint(p.GetEndpoints()),
				"resources": p.GetResourceCount(), "size_bytes": p.GetSizeBytes(), "since": p.GetOnlineSinceTime().AsTime().Format(time.RFC3339Nano)})
		}
		if page.GetNextPageToken() == "" || page.GetNextPageToken() == token {
			return nil
		}
		token = page.GetNextPageToken()
	}
}

func get(ctx context.Context, d *Directory, o *options, target string) error {
	begin := time.Now()
	found, err := resolve(ctx, d, target)
	if err != nil {
		return err
	}
	file := o.output
	if file == "" {
		if file, err = localName(found.GetPath()); err != nil {
			return failf(exitRefused, "NAME_UNSTORABLE", "%v: give a name with -o", err)
		}
	}
	part, err := newPartFile(file, o.overwrite)
	if err != nil {
		return err
	}
	defer part.Discard()
	emit(event{"event": "started", "path": file, "digest": "b3:" + found.GetDigest(), "size_bytes": found.GetSizeBytes(), "resumed_bytes": 0})
	download := newDownload(d, found.GetDigest(), part)
	if err := download.Run(ctx); err != nil {
		return err
	}
	if err := part.Commit(o.overwrite); err != nil {
		return err
	}
	emit(event{"event": "finished", "path": file, "digest": "b3:" + found.GetDigest(), "size_bytes": download.manifest.Size,
		"fetched_bytes": download.fetched.Load(), "resumed_bytes": 0, "seconds": time.Since(begin).Seconds(), "sources": download.Sources()})
	return nil
}
