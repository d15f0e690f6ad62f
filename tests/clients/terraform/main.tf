# A network as Terraform's AWS provider makes it: applied, planned again without a change, and destroyed (run.sh).
terraform {
  required_providers {
    aws = {
      source = "hashicorp/aws"
    }
  }
}

provider "aws" {
  region = "us-east-1"
  access_key = "test"
  secret_key = "test"
  skip_credentials_validation = true
  skip_metadata_api_check = true
  skip_region_validation = true
  endpoints {
    ec2 = "http://127.0.0.1:4566"
    sts = "http://127.0.0.1:4566"
  }
}

resource "aws_vpc" "main" {
  cidr_block = "10.0.0.0/16"
  enable_dns_hostnames = true
  assign_generated_ipv6_cidr_block = true
  tags = { Name = "main" }
}

resource "aws_subnet" "a" {
  vpc_id = aws_vpc.main.id
  cidr_block = "10.0.1.0/24"
  availability_zone = "us-east-1a"
  tags = { Name = "a" }
}

resource "aws_route_table" "rt" {
  vpc_id = aws_vpc.main.id
  tags = { Name = "rt" }
}

resource "aws_route_table_association" "a" {
  subnet_id = aws_subnet.a.id
  route_table_id = aws_route_table.rt.id
}

resource "aws_security_group" "web" {
  name = "web"
  description = "web servers"
  vpc_id = aws_vpc.main.id
  ingress {
    from_port = 80
    to_port = 80
    protocol = "tcp"
    cidr_blocks = ["0.0.0.0/0"]
  }
  ingress {
    from_port = 0
    to_port = 0
    protocol = "112"
    self = true
  }
  egress {
    from_port = 0
    to_port = 0
    protocol = "-1"
    cidr_blocks = ["0.0.0.0/0"]
    ipv6_cidr_blocks = ["::/0"]
  }
}

resource "aws_vpc_security_group_ingress_rule" "ssh" {
  security_group_id = aws_security_group.app.id
  referenced_security_group_id = aws_security_group.web.id
  from_port = 22
  to_port = 22
  ip_protocol = "tcp"
}

resource "aws_security_group" "app" {
  name = "app"
  description = "app"
  vpc_id = aws_vpc.main.id
}

resource "aws_network_interface" "eni" {
  subnet_id = aws_subnet.a.id
  private_ips = ["10.0.1.10", "10.0.1.11"]
  security_groups = [aws_security_group.web.id]
  source_dest_check = false
}

resource "aws_route" "r" {
  route_table_id = aws_route_table.rt.id
  destination_cidr_block = "0.0.0.0/0"
  network_interface_id = aws_network_interface.eni.id
}

resource "aws_network_acl" "acl" {
  vpc_id = aws_vpc.main.id
  subnet_ids = [aws_subnet.a.id]
  ingress {
    protocol = "tcp"
    rule_no = 100
    action = "allow"
    cidr_block = "0.0.0.0/0"
    from_port = 80
    to_port = 80
  }
  egress {
    protocol = "-1"
    rule_no = 100
    action = "allow"
    cidr_block = "0.0.0.0/0"
    from_port = 0
    to_port = 0
  }
}

resource "aws_ec2_managed_prefix_list" "pl" {
  name = "offices"
  address_family = "IPv4"
  max_entries = 5
  entry {
    cidr = "198.51.100.0/24"
    description = "office"
  }
}

resource "aws_vpc_dhcp_options" "d" {
  domain_name = "example.test"
  domain_name_servers = ["AmazonProvidedDNS"]
}

resource "aws_vpc_dhcp_options_association" "d" {
  vpc_id = aws_vpc.main.id
  dhcp_options_id = aws_vpc_dhcp_options.d.id
}

data "aws_availability_zones" "az" {}

data "aws_caller_identity" "me" {}

resource "aws_internet_gateway" "igw" {
  vpc_id = aws_vpc.main.id
}

resource "aws_route_table" "public" {
  vpc_id = aws_vpc.main.id
  route {
    cidr_block = "0.0.0.0/0"
    gateway_id = aws_internet_gateway.igw.id
  }
}

resource "aws_eip" "e" {
  domain = "vpc"
}

resource "aws_eip_association" "e" {
  allocation_id = aws_eip.e.id
  network_interface_id = aws_network_interface.eni.id
  private_ip_address = "10.0.1.11"
}

resource "aws_instance" "i" {
  ami = "ami-0123456789abcdef0"
  instance_type = "t3.micro"
  subnet_id = aws_subnet.a.id
  vpc_security_group_ids = [aws_security_group.app.id]
  user_data = "#!/bin/sh\necho hi"
  tags = { Name = "web" }
}
