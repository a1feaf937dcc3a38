/** Shows the OpenAPI description of this server, without requests to other hosts. */

window.SwaggerUIBundle({
  url: "openapi.json",
  dom_id: "#swagger",
  deepLinking: true,
  validatorUrl: null,
  tryItOutEnabled: false,
});
