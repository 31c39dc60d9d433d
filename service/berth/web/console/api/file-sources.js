// Where files are: in a container, or in the Files API. Both have the same shape for <berth-files>.
import { baseName, PURPOSES, ROOT, shortPath } from "../parts/format.js";

export class ContainerFiles {
  title = "Files";
  emptyText = "No files yet. Drop some here, or run a program that writes to /mnt/data.";

  constructor(api, containerId) {
    this.api = api;
    this.params = { container_id: containerId };
  }

  list = (query, quiet) => this.api.call("listContainerFiles", { params: this.params, query, quiet });
  upload = (file, how) => this.api.upload("createContainerFile", { ...how, params: this.params, form: { file_path: ROOT + file.name }, file });
  read = (file, query, how) => this.api.call("retrieveContainerFileContent", { ...how, params: this.#of(file), query, raw: true });
  remove = (file) => this.api.call("deleteContainerFile", { params: this.#of(file) });
  nameOf = (file) => shortPath(file.path);
  saveAs = (file) => baseName(file.path);
  factsOf = (file) => [file.source === "assistant" ? "made by a program" : "uploaded"];
  #of = (file) => ({ ...this.params, file_id: file.id });
}

export class StoredFiles {
  title = "Files";
  emptyText = "No files. A file that you upload here can be copied into containers.";
  purposes = PURPOSES;

  constructor(api) { this.api = api; }

  list = (query, quiet) => this.api.call("listFiles", { query, quiet });
  upload = (file, { choices, ...how }) => this.api.upload("createFile", { ...how, form: given(choices), file });
  read = (file, query, how) => this.api.call("retrieveFileContent", { ...how, params: { file_id: file.id }, query, raw: true });
  remove = (file) => this.api.call("deleteFile", { params: { file_id: file.id } });
  nameOf = (file) => file.filename;
  saveAs = (file) => baseName(file.filename);
  factsOf = (file) => [file.purpose];
}

const given = (values) => Object.fromEntries(Object.entries(values).filter(([, value]) => value));
