namespace Tidemark.Testing.Images;

/// <summary>Code under test asked for more than its budget; never caught by it.</summary>
public sealed class BudgetException(string message) : Exception(message);
