%%% What is said of options that are none.
-module(py_options_tests).

-include_lib("eunit/include/eunit.hrl").

an_unknown_option_is_named_with_the_known_ones_test() ->
    {error, Problem} = py_call_options:check(#{timeuot => 5}),
    Text = text(Problem),
    [?assertNotEqual(nomatch, string:find(Text, Word)) || Word <- ["timeuot", "timeout", "worker", "strings"]].

a_bad_value_is_told_with_what_is_expected_test() ->
    {error, Problem} = py_call_options:check(#{timeout => -1}),
    ?assertEqual("option timeout must be milliseconds, a non-negative integer, or infinity, not -1", text(Problem)).

options_that_are_no_map_are_told_so_test() ->
    ?assertEqual("options must be a map, not 5", text({no_map, 5})).

text(Problem) -> unicode:characters_to_list(py_options:describe(Problem)).
