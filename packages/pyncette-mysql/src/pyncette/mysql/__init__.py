"""MySQL and MariaDB storage for Pyncette."""
