using Bellman.Tests;
using Xunit;

namespace Bellman.Architecture.Tests;

public sealed class LayeringTests : IDisposable
{
    private readonly TemporaryFolder _planted = TestData.NewFolder();

    [Fact]
    public void ProjectsReferenceOnlyLowerLayers() => Holds(HouseRules.ProjectReferences(TestData.Repository));

    [Fact]
    public void AssembliesReferenceOnlyLowerLayers() => Holds(HouseRules.CompiledReferences(AppContext.BaseDirectory));

    [Fact]
    public void NamespacesAreThoseOfTheFolders()
    {
        Assert.True(HouseRules.Sources(TestData.Repository).Count() > 20, "hardly any source file was found");
        Holds(HouseRules.Namespaces(TestData.Repository));
    }

    [Fact]
    public void EveryOpHasReferenceCpuKernelTestAndBenchmark() => Holds(HouseRules.Ops(TestData.Repository));

    [Fact]
    public void NoSourceFileIsTooLong() => Holds(HouseRules.Lengths(TestData.Repository));

    [Fact]
    public void AnUpwardProjectReferenceIsFound()
    {
        PlantProject("Kernels", "Bellman.Kernels", """<ProjectReference Include="..\Runtime\Bellman.Runtime.csproj" />""");
        PlantProject("Runtime", "Bellman.Runtime", """<ProjectReference Include="../Kernels/Bellman.Kernels.csproj" /><InternalsVisibleTo Include="Bellman.Training" />""");
        PlantProject("Training", "Bellman.Training", """<ProjectReference Include="../Kernels/Bellman.Kernels.csproj" /><InternalsVisibleTo Include="Bellman.Training.Tests" />""");
        PlantProject("Shared", "Bellman.Shared", "");
        Assert.Equal(
        [
            "src/Cli/Bellman.Cli.csproj is missing",
            "src/Kernels/Bellman.Kernels.csproj references src/Runtime/Bellman.Runtime.csproj, which is not below it",
            "src/Runtime/Bellman.Runtime.csproj shows its internals to Bellman.Training, which is neither a test nor a benchmark",
            "src/Shared/Bellman.Shared.csproj is no layer of the house",
        ], HouseRules.ProjectReferences(_planted.Path).Order(StringComparer.Ordinal));
    }

    [Fact]
    public void AnUpwardCompiledReferenceIsFound()
    {
        // An upper layer in the place of the lowest; the layers in between are absent.
        File.Copy(Path.Combine(AppContext.BaseDirectory, "Bellman.Training.dll"), _planted.File("Bellman.Kernels.dll"));
        List<string> problems = HouseRules.CompiledReferences(_planted.Path);
        Assert.Contains("Bellman.Training.dll was not built", problems);
        Assert.Contains(problems, x => x.StartsWith("Bellman.Kernels.dll references Bellman.", StringComparison.Ordinal));
    }

    [Fact]
    public void AWrongNamespaceIsFound()
    {
        Plant("src/Runtime/Tokenizers/Good.cs", "using System;\n\nnamespace Bellman.Runtime.Tokenizers;\n");
        Plant("src/Runtime/Tokenizers/Bad.cs", "namespace Bellman.Runtime;\n");
        Plant("src/Runtime/Two.cs", "namespace Bellman.Runtime\n{\n    namespace Inner { }\n}\n");
        Plant("src/Cli/Program.cs", "return 0;\n");
        Plant("src/Utils/Stray.cs", "namespace Bellman.Utils;\n");
        Plant("src/Runtime/obj/Generated.cs", "namespace Generated;\n");
        Assert.Equal(
        [
            "src/Cli/Program.cs has namespace none, expected Bellman.Cli",
            "src/Runtime/Tokenizers/Bad.cs has namespace Bellman.Runtime, expected Bellman.Runtime.Tokenizers",
            "src/Runtime/Two.cs has namespace Bellman.Runtime and Inner, expected Bellman.Runtime",
            "src/Utils/Stray.cs lies in no layer",
        ], HouseRules.Namespaces(_planted.Path));
    }

    [Fact]
    public void AnOpWithoutTestOrReferenceIsFound()
    {
        Assert.Equal(["src/Kernels/Ops has no op"], HouseRules.Ops(_planted.Path));
        Plant("src/Kernels/Ops/Gelu/Gelu.cs", "");
        Plant("src/Kernels/Ops/Gelu/Gelu.Cpu.cs", "");
        Assert.Equal(["src/Kernels/Ops/Gelu/Gelu.Reference.cs is missing", "tests/Kernels.Tests/Ops/GeluTests.cs is missing", "perf/Cpu/Ops/GeluPerf.cs is missing"], HouseRules.Ops(_planted.Path));
    }

    [Fact]
    public void ALongFileIsFound()
    {
        Plant("src/Runtime/Long.cs", string.Concat(Enumerable.Repeat("//\n", HouseRules.LongestFile + 1)));
        Plant("src/Runtime/JustFits.cs", string.Concat(Enumerable.Repeat("//\n", HouseRules.LongestFile)));
        Assert.Equal(["src/Runtime/Long.cs has 501 lines, at most 500 are allowed"], HouseRules.Lengths(_planted.Path));
    }

    public void Dispose() => _planted.Dispose();

    private static void Holds(List<string> problems) => Assert.True(problems.Count == 0, string.Join(Environment.NewLine, problems));

    private void PlantProject(string folder, string name, string items) =>
        Plant($"src/{folder}/{name}.csproj", $"<Project Sdk=\"Microsoft.NET.Sdk\"><ItemGroup>{items}</ItemGroup></Project>");

    private void Plant(string file, string text)
    {
        string path = _planted.File(file);
        Directory.CreateDirectory(Path.GetDirectoryName(path)!);
        File.WriteAllText(path, text);
    }
}
