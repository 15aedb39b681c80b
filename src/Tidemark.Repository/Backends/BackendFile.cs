namespace Tidemark.Repository.Backends;

/// <summary>A file that a backend listed.</summary>
/// <param name="Name">Its name: 64 lower-case hexadecimal digits, or <c>config</c>.</param>
/// <param name="Length">Its length in bytes.</param>
public readonly record struct BackendFile(string Name, long Length);
