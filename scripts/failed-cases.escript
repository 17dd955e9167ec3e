#!/usr/bin/env escript
%% scripts/test calls it: of rebar3's list of failed cases, a line for each: suite, group (or -), case.

main([File]) ->
    case file:consult(File) of
        {ok, Failed} -> [io:format("~ts ~ts ~ts~n", Line) || Each <- Failed, Line <- lines(Each)];
        {error, _} -> ok
    end.

lines({cases, Directory, Suite, Cases}) -> lines(Directory, Suite, "-", Cases);
lines({groups, Directory, Suite, Group, {cases, Cases}}) -> lines(Directory, Suite, group(Group), Cases).

lines(Directory, Suite, Group, Cases) when is_list(Cases) ->
    [[suite(Directory, Suite), Group, atom_to_list(Case)] || Case <- Cases];
lines(Directory, Suite, Group, Case) ->
    lines(Directory, Suite, Group, [Case]).

suite(Directory, Suite) -> filename:join(Directory, atom_to_list(Suite)).

group([_ | _] = Path) -> group(lists:last(Path));
group({Name, _Properties}) -> atom_to_list(Name);
group(Name) when is_atom(Name) -> atom_to_list(Name).
