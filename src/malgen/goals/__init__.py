"""What could be pursued: a library of goals, and how a pursuer of each would act."""
