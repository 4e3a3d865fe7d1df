output "service_role" {
  description = "For the annotation eks.amazonaws.com/role-arn of gateway's and worker's service account."
  value       = aws_iam_role.pods["service"].arn
}

output "autoscaler_role" {
  description = "For the Cluster Autoscaler's service account, kube-system/cluster-autoscaler."
  value       = aws_iam_role.pods["autoscaler"].arn
}

output "kubeconfig" {
  description = "How kubectl gets to know the cluster."
  value       = "aws eks update-kubeconfig --region ${var.region} --name ${aws_eks_cluster.this.name}"
}
