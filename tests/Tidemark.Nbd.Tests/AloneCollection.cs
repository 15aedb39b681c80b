using Xunit;

namespace Tidemark.Nbd.Tests;

/// <summary>Tests that count what the whole process holds: no other test runs beside them.</summary>
[CollectionDefinition(nameof(AloneCollection), DisableParallelization = true)]
public sealed class AloneCollection;
