using Xunit;

namespace Bellman.Tests;

/// <summary>
/// Where golden numbers and data sets lie: BELLMAN_GOLDEN and BELLMAN_DATA, else ../shared/golden and ../shared/data beside
/// the checkout, else (golden only) the copies under tests/golden. A test whose files are absent is skipped and says so.
/// </summary>
public static class TestData
{
    /// <summary>The root of the checkout.</summary>
    public static string Repository { get; } = FindRepository();

    /// <summary>All golden folders to walk, nearest first.</summary>
    public static IReadOnlyList<string> GoldenFolders { get; } = FindGolden();

    /// <summary>The data folder, or null.</summary>
    public static string? DataFolder { get; } = FirstFolder(Environment.GetEnvironmentVariable("BELLMAN_DATA"), Path.Combine(Repository, "..", "shared", "data"));

    /// <summary>A golden file or folder; skips the test when it is absent.</summary>
    public static string Golden(string relative)
    {
        foreach (string folder in GoldenFolders)
        {
            string path = Path.Combine(folder, relative);
            if (File.Exists(path) || Directory.Exists(path)) return path;
        }
        Assert.Skip($"golden '{relative}' is not in {string.Join(", ", GoldenFolders)}; set BELLMAN_GOLDEN to a folder that has it.");
        return null!;
    }

    /// <summary>A data file or folder; skips the test when it is absent.</summary>
    public static string Data(string relative)
    {
        if (DataFolder is not null)
        {
            string path = Path.Combine(DataFolder, relative);
            if (File.Exists(path) || Directory.Exists(path)) return path;
        }
        Assert.Skip($"data '{relative}' is not there (looked in {DataFolder ?? "../shared/data"}); set BELLMAN_DATA to a folder that has it.");
        return null!;
    }

    /// <summary>A fresh temporary folder, deleted when disposed.</summary>
    public static TemporaryFolder NewFolder() => new();

    private static List<string> FindGolden()
    {
        string? named = Environment.GetEnvironmentVariable("BELLMAN_GOLDEN");
        // A folder that was asked for by name is the only one read: its cases, not ours.
        if (!string.IsNullOrEmpty(named)) return [named];
        return [.. new[] { Path.Combine(Repository, "..", "shared", "golden"), Path.Combine(Repository, "tests", "golden") }.Where(Directory.Exists)];
    }

    private static string? FirstFolder(params string?[] candidates) => candidates.FirstOrDefault(x => !string.IsNullOrEmpty(x) && Directory.Exists(x));

    private static string FindRepository()
    {
        for (DirectoryInfo? folder = new(AppContext.BaseDirectory); folder is not null; folder = folder.Parent)
            if (File.Exists(Path.Combine(folder.FullName, "Native.sln"))) return folder.FullName;
        throw new InvalidOperationException("Native.sln was not found above the test binaries.");
    }
}

/// <summary>A temporary folder that goes away with the test.</summary>
public sealed class TemporaryFolder : IDisposable
{
    /// <summary>Full path.</summary>
    public string Path { get; } = Directory.CreateTempSubdirectory("bellman-test-").FullName;

    /// <summary>A path inside.</summary>
    public string File(string name) => System.IO.Path.Combine(Path, name);

    /// <inheritdoc/>
    public void Dispose() => Directory.Delete(Path, recursive: true);
}
