// Command tour calls Berth with the official OpenAI SDK for Go.
//
// It reads OPENAI_BASE_URL and OPENAI_API_KEY, as the SDK does, prints one line
// of JSON, and ends with a message and status 1 at the first answer that is not
// as expected.
package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime/multipart"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/openai/openai-go/v3"
	"github.com/openai/openai-go/v3/option"
)

const (
	streamedBytes = 3_000_000
	pieceBytes    = 100_000
	timeout       = 30 * time.Second
)

// seen is what the tour prints.
type seen struct {
	Container string    `json:"container"`
	Bytes     []int64   `json:"bytes"`
	Errors    []refusal `json:"errors"`
}

// refusal is what is known about an error.
type refusal struct {
	Status  int    `json:"status"`
	Code    string `json:"code"`
	Param   string `json:"param"`
	Type    string `json:"type"`
	Message string `json:"message"`
}

type tour struct {
	client openai.Client
	name   string
	seen   seen
}

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run() error {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	t := &tour{
		client: openai.NewClient(option.WithMaxRetries(0)),
		name:   "my box " + hex.EncodeToString(random(8)),
	}
	if err := t.walk(ctx); err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(t.seen)
}

func (t *tour) walk(ctx context.Context) error {
	if err := t.createContainers(ctx); err != nil {
		return fmt.Errorf("containers: %w", err)
	}
	files, err := t.uploadFiles(ctx)
	if err != nil {
		return fmt.Errorf("uploads: %w", err)
	}
	if err := t.listFiles(ctx, files); err != nil {
		return fmt.Errorf("files: %w", err)
	}
	if err := t.client.Containers.Delete(ctx, t.seen.Container); err != nil {
		return fmt.Errorf("delete: %w", err)
	}
	if err := t.refusals(ctx); err != nil {
		return fmt.Errorf("errors: %w", err)
	}
	return nil
}

// createContainers creates two containers of the same name and keeps the second.
func (t *tour) createContainers(ctx context.Context) error {
	first, err := t.client.Containers.New(ctx, openai.ContainerNewParams{Name: t.name})
	if err != nil {
		return err
	}
	params := openai.ContainerNewParams{
		Name:         t.name,
		ExpiresAfter: openai.ContainerNewParamsExpiresAfter{Anchor: "last_active_at", Minutes: 5},
		MemoryLimit:  openai.ContainerNewParamsMemoryLimit4g,
	}
	params.SetExtraFields(map[string]any{"provider": "groq"}) // a field that the SDK does not know
	second, err := t.client.Containers.New(ctx, params)
	if err != nil {
		return err
	}
	if second.Object != "container" || second.Name != t.name || second.Status != "running" ||
		second.MemoryLimit != "4g" || second.ExpiresAfter.Anchor != "last_active_at" ||
		second.ExpiresAfter.Minutes != 5 || !strings.Contains(second.RawJSON(), `"provider":"groq"`) {
		return fmt.Errorf("a field is not as it was given: %s", second.RawJSON())
	}
	retrieved, err := t.client.Containers.Get(ctx, second.ID)
	if err != nil {
		return err
	}
	if retrieved.ID != second.ID || retrieved.Name != second.Name || retrieved.CreatedAt != second.CreatedAt ||
		string(retrieved.MemoryLimit) != string(second.MemoryLimit) {
		return fmt.Errorf("created %s, retrieved %s", second.RawJSON(), retrieved.RawJSON())
	}
	if err := t.listContainers(ctx, []string{second.ID, first.ID}); err != nil {
		return err
	}
	t.seen.Container = second.ID
	return t.client.Containers.Delete(ctx, first.ID)
}

// listContainers checks that paging one by one returns the containers of this tour, newest first.
func (t *tour) listContainers(ctx context.Context, expected []string) error {
	params := openai.ContainerListParams{Name: openai.String(t.name), Limit: openai.Int(1)}
	page, err := t.client.Containers.List(ctx, params)
	if err != nil {
		return err
	}
	if len(page.Data) != 1 || !page.HasMore {
		return fmt.Errorf("unexpected page: %s", page.RawJSON())
	}
	var ids []string
	pager := t.client.Containers.ListAutoPaging(ctx, params)
	for pager.Next() {
		ids = append(ids, pager.Current().ID)
	}
	if err := pager.Err(); err != nil {
		return err
	}
	if !slices.Equal(ids, expected) {
		return fmt.Errorf("expected the containers %v, got %v", expected, ids)
	}
	return nil
}

// uploadFiles uploads from memory, from a stream and by reference, and returns the ids of the files.
func (t *tour) uploadFiles(ctx context.Context) ([]string, error) {
	memory := []byte("a,b\n1,2\n")
	streamed := random(streamedBytes)
	origin, err := t.client.Files.New(ctx, openai.FileNewParams{
		File:    openai.File(bytes.NewReader(memory), "origin.csv", "text/csv"),
		Purpose: openai.FilePurposeAssistants,
	})
	if err != nil {
		return nil, err
	}
	uploads := []struct {
		name, contentType string
		content           []byte
		params            openai.ContainerFileNewParams
		options           []option.RequestOption
	}{
		{
			name: "report final.csv", contentType: "text/csv", content: memory,
			params: openai.ContainerFileNewParams{
				File: openai.File(bytes.NewReader(memory), "report final.csv", "text/csv"),
			},
		},
		{
			name: "streamed.bin", contentType: "application/octet-stream", content: streamed,
			options: []option.RequestOption{stream(streamed, "streamed.bin")},
		},
		{
			name: "origin.csv", contentType: "text/csv", content: memory,
			params: openai.ContainerFileNewParams{FileID: openai.String(origin.ID)},
		},
	}
	var ids []string
	for _, upload := range uploads {
		file, err := t.client.Containers.Files.New(ctx, t.seen.Container, upload.params, upload.options...)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", upload.name, err)
		}
		if file.ContainerID != t.seen.Container || file.Source != "user" || file.Bytes != int64(len(upload.content)) ||
			!strings.HasPrefix(file.Path, "/mnt/data/") || !strings.HasSuffix(file.Path, "-"+upload.name) {
			return nil, fmt.Errorf("%s: unexpected answer: %s", upload.name, file.RawJSON())
		}
		if err := t.download(ctx, file.ID, upload.content, upload.contentType); err != nil {
			return nil, fmt.Errorf("%s: %w", upload.name, err)
		}
		ids = append(ids, file.ID)
		t.seen.Bytes = append(t.seen.Bytes, file.Bytes)
	}
	_, err = t.client.Files.Delete(ctx, origin.ID)
	return ids, err
}

// stream sends `content` as a form in pieces, without a length: the SDK itself would collect it first.
func stream(content []byte, name string) option.RequestOption {
	reader, writer := io.Pipe()
	form := multipart.NewWriter(writer)
	go func() {
		part, err := form.CreateFormFile("file", name)
		for piece := range slices.Chunk(content, pieceBytes) {
			if err == nil {
				_, err = part.Write(piece)
			}
		}
		if err == nil {
			err = form.Close()
		}
		writer.CloseWithError(err)
	}()
	return option.WithRequestBody(form.FormDataContentType(), reader)
}

func (t *tour) download(ctx context.Context, file string, content []byte, contentType string) error {
	response, err := t.client.Containers.Files.Content.Get(ctx, t.seen.Container, file)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	received, err := io.ReadAll(response.Body)
	if err != nil {
		return err
	}
	if !bytes.Equal(received, content) {
		return fmt.Errorf("%d bytes came back that differ from the %d that were sent", len(received), len(content))
	}
	if got := response.Header.Get("Content-Type"); got != contentType {
		return fmt.Errorf("expected the type %s, got %s", contentType, got)
	}
	return nil
}

// listFiles lists, retrieves and deletes what was uploaded.
func (t *tour) listFiles(ctx context.Context, expected []string) error {
	pager := t.client.Containers.Files.ListAutoPaging(ctx, t.seen.Container, openai.ContainerFileListParams{
		Limit: openai.Int(1), Order: openai.ContainerFileListParamsOrderAsc,
	})
	var ids []string
	for pager.Next() {
		ids = append(ids, pager.Current().ID)
	}
	if err := pager.Err(); err != nil {
		return err
	}
	if !slices.Equal(ids, expected) {
		return fmt.Errorf("expected the files %v, got %v", expected, ids)
	}
	retrieved, err := t.client.Containers.Files.Get(ctx, t.seen.Container, ids[0])
	if err != nil {
		return err
	}
	if retrieved.ID != ids[0] || retrieved.Bytes != t.seen.Bytes[0] {
		return fmt.Errorf("unexpected answer: %s", retrieved.RawJSON())
	}
	if err := t.client.Containers.Files.Delete(ctx, t.seen.Container, ids[0]); err != nil {
		return err
	}
	_, err = t.client.Containers.Files.Get(ctx, t.seen.Container, ids[0])
	_, err = refused(err, 404)
	return err
}

// refusals makes three requests that must fail and keeps what is known about the errors.
func (t *tour) refusals(ctx context.Context) error {
	_, gone := t.client.Containers.Get(ctx, t.seen.Container)
	_, wrongKey := t.client.Containers.List(ctx, openai.ContainerListParams{}, option.WithAPIKey("sk-bf-wrong"))
	_, wrongLimit := t.client.Containers.New(ctx, openai.ContainerNewParams{Name: t.name, MemoryLimit: "3g"})
	for _, expected := range []struct {
		err    error
		status int
	}{{gone, 404}, {wrongKey, 401}, {wrongLimit, 400}} {
		known, err := refused(expected.err, expected.status)
		if err != nil {
			return err
		}
		t.seen.Errors = append(t.seen.Errors, known)
	}
	return nil
}

// refused returns what is known about an error of the API that must have this status.
func refused(err error, status int) (refusal, error) {
	var known *openai.Error
	if !errors.As(err, &known) {
		return refusal{}, fmt.Errorf("expected *openai.Error, got %v", err)
	}
	if known.StatusCode != status || known.Response.Header.Get("X-Request-Id") == "" {
		return refusal{}, fmt.Errorf("expected status %d with a request id, got %v", status, err)
	}
	return refusal{known.StatusCode, known.Code, known.Param, known.Type, known.Message}, nil
}

func random(count int) []byte {
	content := make([]byte, count)
	rand.Read(content)
	return content
}
