/** Shows the OpenAPI description of this server, without requests to other hosts. */

window.SwaggerUIBundle({
  url: "openapi.json",
  dom_id: "#swagger",
  deepLinking: true,
  validatorUrl: null,
  tryItOutEnabled: true, // one click on Execute sends the example and shows its curl command
});
