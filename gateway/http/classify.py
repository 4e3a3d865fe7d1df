"""The route that sorts images into categories: ``POST /v1/classify``."""

from __future__ import annotations

from flask import Blueprint, Response, jsonify, request

from gateway.errors import BadOption
from gateway.http import classifying
from gateway.http.classify_intake import receive_images
from gateway.http.flows import Services, discard
from gateway.pipelines.classify_image import ClassifyOptions


def blueprint(services: Services) -> Blueprint:
    """The route on these services."""
    routes = Blueprint("classify", __name__)

    @routes.post("/v1/classify")
    def classify() -> Response:
        services.gates.classifications.check()
        with receive_images(request, services.settings) as asked:
            try:
                options = ClassifyOptions.parse(asked.options)
            except BadOption:
                for image in asked.images:
                    if image.upload_id is not None:
                        discard(services, image.upload_id)
                raise
            return jsonify(classifying.classify(services, asked, options))

    return routes
