// Shows the document of the API. A key that is entered stays in this tab, until it is closed or loaded again.
const dark = matchMedia("(prefers-color-scheme: dark)");
const follow = () => document.documentElement.classList.toggle("dark-mode", dark.matches);
dark.addEventListener("change", follow);
follow();

// Swagger UI sends fields of forms that are left empty. Here they mean a field that is absent.
function withoutEmptyFields(request) {
  if (request.body instanceof FormData) {
    for (const name of new Set(request.body.keys())) {
      if (request.body.get(name) === "") request.body.delete(name);
    }
  }
  return request;
}

// What screen readers and keyboards need and Swagger UI leaves out: names, levels of headings, and a way to scroll.
const operationOf = (element) => element.closest(".opblock")?.id.split("-").at(-1) ?? "";
const nameOfField = (field) =>
  field.closest("[data-param-name]")?.dataset.paramName ?? field.closest("[data-property-name]")?.dataset.propertyName;
const listName = (list) => nameOfField(list) ?? (list.id === "servers" ? "Server" : "Example or media type");
const ATTRIBUTES = [
  [".information-container", "role", () => "banner"],
  [".scheme-container > section", "aria-label", () => "Server and key"],
  [".filter-container section", "aria-label", () => "Filter"],
  [".opblock-tag", "aria-level", () => "2"],
  [".opblock-body :is(h4, h5), .models h4", "aria-level", () => "3"],
  [".dialog-ux :is(h3, h4)", "aria-level", () => "2"],
  [".dialog-ux :is(h5, h6)", "aria-level", () => "3"],
  [".close-modal", "aria-label", () => "Close"],
  [".responses-table", "aria-label", (table) => `Responses of ${operationOf(table)}`],
  ["select", "aria-label", listName],
  ["textarea, input[type=file]", "aria-label", (field) => nameOfField(field) ?? "Request body"],
];
const scrolls = (block) => block.scrollWidth > block.clientWidth || block.scrollHeight > block.clientHeight;

function mend() {
  for (const [selector, attribute, value] of ATTRIBUTES) {
    for (const element of document.querySelectorAll(selector)) {
      if (!element.hasAttribute(attribute)) element.setAttribute(attribute, value(element));
    }
  }
  for (const block of document.querySelectorAll("pre:not([data-seen])")) {
    if (!block.clientHeight) continue; // it is in something that is closed
    block.dataset.seen = "";
    if (scrolls(block)) block.tabIndex = 0;
  }
}

// Once a frame: to ask whether blocks scroll has the browser lay the page out.
let isDue = false;
function mendSoon() {
  if (!isDue) requestAnimationFrame(() => { isDue = false; mend(); });
  isDue = true;
}
new MutationObserver(mendSoon).observe(document.documentElement, { childList: true, subtree: true });

// Swagger UI has a link to an operation inside of the button that opens it. Screen readers cannot reach such a link, and
// opening an operation puts the same address into the tab: so the path of an operation is plain text.
const plainPaths = ({ React }) => ({
  wrapComponents: {
    OperationSummaryPath: (Original) => (props) => {
      const getComponent = (name, ...others) =>
        name === "DeepLink" ? ({ text }) => React.createElement("span", null, text) : props.getComponent(name, ...others);
      return React.createElement(Original, { ...props, getComponent });
    },
  },
});

// Swagger UI would send the example of each parameter. As `x-example` it is shown and not sent.
function shown(parameter) {
  const { example, ...others } = parameter;
  return example === undefined ? parameter : { ...others, "x-example": example };
}

// The same for a field of a form, of which no other example is shown than the one that is sent.
function empty(field) {
  const [example] = field.examples ?? [];
  if (example === undefined) return field;
  return { ...field, description: `${field.description ?? ""}\n\n*Example* : ${example}`, examples: [""] };
}

function mapped(object, change) {
  return Object.fromEntries(Object.entries(object ?? {}).map(([name, value]) => [name, change(value)]));
}

function withoutSentExamples(document) {
  for (const operation of Object.values(document.paths).flatMap(Object.values)) {
    if (operation.parameters) operation.parameters = operation.parameters.map(shown);
    const form = operation.requestBody?.content["multipart/form-data"]?.schema;
    if (form) form.properties = mapped(form.properties, empty);
  }
  document.components.parameters = mapped(document.components.parameters, shown);
  return document;
}

const shownExamples = {
  statePlugins: {
    spec: { wrapActions: { updateJsonSpec: (original) => (document) => original(withoutSentExamples(document)) } },
  },
};

SwaggerUIBundle({
  url: "openapi.json",
  dom_id: "#swagger-ui",
  deepLinking: true,
  defaultModelsExpandDepth: 0,
  displayRequestDuration: true,
  filter: true,
  plugins: [plainPaths, shownExamples],
  persistAuthorization: false,
  requestInterceptor: withoutEmptyFields,
  validatorUrl: null,
});
