"""Who somebody is and what operation awaits them: values and their matching, without input or output."""
