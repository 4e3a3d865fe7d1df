"""Where the models' weights come from and how their archives are built."""
