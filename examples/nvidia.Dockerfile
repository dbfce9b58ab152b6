# dupo in a container on a machine with NVIDIA GPUs. UNTESTED: no image was built with this file yet.
#
#     docker build -f examples/nvidia.Dockerfile -t dupo .
#     docker run --rm --gpus all -v "$PWD:/data" dupo doctor
#     docker run --rm --gpus all -v "$PWD:/data" dupo train --task word_problems --dataset train.jsonl ...
#
# The host needs NVIDIA's driver and its container toolkit. The libraries of CUDA come with torch.
FROM python:3.12-slim

# A compiler for the extension, and for Triton, which compiles a launcher for each kernel while it runs.
RUN apt-get update && apt-get install -y --no-install-recommends g++ && rm -rf /var/lib/apt/lists/*

COPY pyproject.toml setup.py MANIFEST.in LICENSE README.md /opt/dupo/
COPY csrc /opt/dupo/csrc
COPY dupo /opt/dupo/dupo
COPY kernels /opt/dupo/kernels
COPY examples /opt/dupo/examples
RUN pip install --no-cache-dir "/opt/dupo[data,math,langid]"

# Data, runs and models that were downloaded stay in the folder that is mounted.
ENV HF_HOME=/data/.huggingface
WORKDIR /data
ENTRYPOINT ["dupo"]
