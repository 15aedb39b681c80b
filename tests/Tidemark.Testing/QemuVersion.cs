namespace Tidemark.Testing;

/// <summary>One QEMU among several side by side: its version (as in 7.2) and its programs.</summary>
public sealed record QemuVersion(string Name, Version Version, string Folder)
{
    /// <summary>The full path of a program of this version, <c>qemu-img</c> for example.</summary>
    /// <exception cref="InvalidOperationException">This version has no such program.</exception>
    public string Program(string name) =>
        Has(name) ? Path.Combine(Folder, name) : throw new InvalidOperationException($"QEMU {Name} has no {name}");

    /// <summary>Whether this version has the program.</summary>
    public bool Has(string name) => File.Exists(Path.Combine(Folder, name));

    public override string ToString() => $"QEMU {Name}";
}
