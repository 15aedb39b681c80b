namespace Tidemark.Backup.Graph;

/// <summary>What the hypervisor said of its graph cannot be understood: a field is missing or of the wrong
/// type.</summary>
public sealed class GraphException : Exception
{
    /// <summary>Creates an error.</summary>
    public GraphException(string message)
        : base(message)
    {
    }
}
