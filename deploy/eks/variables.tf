variable "region" {
  description = "AWS region of cluster and bucket."
  type        = string
}

variable "cluster" {
  description = "Name of the cluster."
  type        = string
  default     = "masquerade"
}

variable "kubernetes_version" {
  description = "Kubernetes version, 1.30 or newer; choose one in EKS's standard support."
  type        = string
  default     = "1.35"
}

variable "subnet_ids" {
  description = "Private subnets, in at least two zones, with a way out (NAT, or endpoints for S3, STS, ECR and EC2)."
  type        = list(string)
  validation {
    condition     = length(var.subnet_ids) >= 2
    error_message = "EKS wants subnets in at least two zones."
  }
}

variable "api_cidrs" {
  description = "Where the cluster's public API may be called from; none makes it private."
  type        = list(string)
  default     = []
}

variable "bucket" {
  description = "Name of the bucket for uploads and results (MASQUERADE_S3_BUCKET)."
  type        = string
}

variable "batch_buckets" {
  description = "Further buckets that batches may read and write (MASQUERADE_BATCH_BUCKETS)."
  type        = list(string)
  default     = []
}

variable "page_origins" {
  description = "Origins of the web page, which uploads to the bucket and reads results from it."
  type        = list(string)
}

variable "result_days" {
  description = "Days until the bucket drops what the service has not (longer than MASQUERADE_RESULT_TTL)."
  type        = number
  default     = 14
}

variable "gpu_instance_types" {
  description = "Instance types of the GPU nodes."
  type        = list(string)
  default     = ["g6.2xlarge"]
}

variable "gpu_accelerator" {
  description = "The GPUs' name for the Cluster Autoscaler; must fit the instance types."
  type        = string
  default     = "nvidia-l4"
}

variable "gpu_nodes" {
  description = "Least and most GPU nodes."
  type        = object({ min = number, max = number })
  default     = { min = 0, max = 4 }
}

variable "cpu_instance_types" {
  description = "Instance types of the CPU nodes."
  type        = list(string)
  default     = ["m7i.2xlarge"]
}

variable "cpu_nodes" {
  description = "Least and most CPU nodes."
  type        = object({ min = number, max = number })
  default     = { min = 2, max = 10 }
}
