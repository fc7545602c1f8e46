"""From notifications to resource keys: an event only says which resource to look at again."""
