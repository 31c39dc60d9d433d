// The operations of the API that the console uses: method, path, gRPC method, and the call in OpenAI's SDK for Python.

export const OPERATIONS = {
  createContainer: ["POST", "/containers", "ContainerService/CreateContainer", "containers.create"],
  listContainers: ["GET", "/containers", "ContainerService/ListContainers", "containers.list"],
  retrieveContainer: ["GET", "/containers/{container_id}", "ContainerService/RetrieveContainer", "containers.retrieve"],
  deleteContainer: ["DELETE", "/containers/{container_id}", "ContainerService/DeleteContainer", "containers.delete"],
  createContainerFile: ["POST", "/containers/{container_id}/files", "ContainerFileService/CreateContainerFile", "containers.files.create"],
  listContainerFiles: ["GET", "/containers/{container_id}/files", "ContainerFileService/ListContainerFiles", "containers.files.list"],
  retrieveContainerFileContent: ["GET", "/containers/{container_id}/files/{file_id}/content",
    "ContainerFileService/RetrieveContainerFileContent", "containers.files.content.retrieve"],
  deleteContainerFile: ["DELETE", "/containers/{container_id}/files/{file_id}", "ContainerFileService/DeleteContainerFile", "containers.files.delete"],
  listContainerExecs: ["GET", "/containers/{container_id}/execs", "ContainerExecService/ListContainerExecs"],
  streamContainerExec: ["POST", "/containers/{container_id}/execs/stream", "ContainerExecService/StreamContainerExec"],
  followContainerExec: ["GET", "/containers/{container_id}/execs/{exec_id}/stream", "ContainerExecService/FollowContainerExec"],
  cancelContainerExec: ["POST", "/containers/{container_id}/execs/{exec_id}/cancel", "ContainerExecService/CancelContainerExec"],
  createFile: ["POST", "/files", "FileService/CreateFile", "files.create"],
  listFiles: ["GET", "/files", "FileService/ListFiles", "files.list"],
  retrieveFileContent: ["GET", "/files/{file_id}/content", "FileService/RetrieveFileContent", "files.content"],
  deleteFile: ["DELETE", "/files/{file_id}", "FileService/DeleteFile", "files.delete"],
  listUsage: ["GET", "/usage", "UsageService/ListUsage"],
};

// Browsers take a segment of dots, escaped or not, for a step in the path: such an id would be another operation.
function segment(id) {
  if (/^\.{1,2}$/.test(id)) throw new Error(`The id '${id}' does not exist.`);
  return encodeURIComponent(id);
}

// Returns the path of a call, its ids escaped, with its query.
export function pathOf(operation, { params = {}, query = {} } = {}) {
  const path = OPERATIONS[operation][1].replace(/\{(\w+)\}/g, (_, name) => segment(params[name]));
  const search = new URLSearchParams(Object.entries(query).filter(([, value]) => value !== "" && value !== null && value !== undefined));
  return search.size ? `${path}?${search}` : path;
}
