using Bellman.Tests;
using Bellman.Training.Recipes;
using Xunit;

namespace Bellman.Training.Tests.Recipes;

/// <summary>The recipes in the repository and the table of keys in the documentation.</summary>
public sealed class ShippedRecipesTests
{
    // A recipe that is added or removed must show up here, so that none escapes the test.
    private const int Shipped = 10;

    private static string[] Files => Directory.GetFiles(Path.Combine(TestData.Repository, "recipes"), "*.yaml", SearchOption.AllDirectories);

    [Fact]
    public void EveryRecipeParses()
    {
        foreach (string file in Files)
        {
            var recipe = Recipe.Load(file);
            Assert.Equal(recipe.ToYaml(), Recipe.Parse(recipe.ToYaml()).ToYaml());
            string head = File.ReadLines(file).First();
            Assert.True(head.StartsWith("# ", StringComparison.Ordinal), $"{file}: the first line says what the recipe is for");
        }
        Assert.Equal(Shipped, Files.Length);
    }

    [Fact]
    public void TheTableInTheDocumentationIsTheProgramsTable()
    {
        string path = Path.Combine(TestData.Repository, "docs", "recipes.md"), documentation = File.ReadAllText(path).ReplaceLineEndings("\n"), table = RecipeKeys.Markdown();
        if (Environment.GetEnvironmentVariable("BELLMAN_WRITE_HELP") == "1")
            File.WriteAllText(path, documentation = documentation[..(documentation.IndexOf("-->", StringComparison.Ordinal) + 5)] + table);
        Assert.True(documentation.EndsWith("\n" + table, StringComparison.Ordinal), $"docs/recipes.md must end with this table:\n{table}");
    }
}
