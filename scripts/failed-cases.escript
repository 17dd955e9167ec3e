#!/usr/bin/env escript
%% scripts/test calls it: of rebar3's list of failed cases, a line for each suite and group: suite, group (or -), cases.

main([File]) ->
    case file:consult(File) of
        {ok, Failed} -> [io:format("~ts ~ts ~ts~n", line(Each)) || Each <- Failed];
        {error, _} -> ok
    end.

line({cases, Directory, Suite, Cases}) -> [suite(Directory, Suite), "-", names(Cases)];
line({groups, Directory, Suite, Group, {cases, Cases}}) -> [suite(Directory, Suite), group(Group), names(Cases)].

suite(Directory, Suite) -> filename:join(Directory, atom_to_list(Suite)).

group([_ | _] = Path) -> group(lists:last(Path));
group({Name, _Properties}) -> atom_to_list(Name);
group(Name) when is_atom(Name) -> atom_to_list(Name).

names(Cases) when is_list(Cases) -> lists:join($,, [atom_to_list(Case) || Case <- Cases]);
names(Case) -> atom_to_list(Case).
